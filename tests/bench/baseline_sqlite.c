/*
 * The journal's work done with SQLite, set up as a careful engineer would: WAL, synchronous=FULL,
 * prepared statements, a transaction for each batch. A reader follows; what it has passed is
 * deleted in the next batch's transaction, which spares SQLite a commit, or with --delete-apart in
 * one of its own. Prints one JSON object.
 */
#include "measure.h"

#include <errno.h>
#include <getopt.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#define READ_RECORDS 512

static struct {
	const char *directory;
	uint64_t batch, max_bytes;
	double seconds;
	bool deletes_apart;
} options = {.batch = 200, .max_bytes = 256 << 20, .seconds = 2};

static sqlite3 *db;

static void check(int r, int expected)
{
	if (r == expected)
		return;
	fprintf(stderr, "sqlite: %s\n", sqlite3_errmsg(db));
	exit(1);
}

static void run(const char *sql)
{
	check(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
}

static sqlite3_stmt *statement(const char *sql)
{
	sqlite3_stmt *s;

	check(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
	return s;
}

static void step(sqlite3_stmt *s)
{
	check(sqlite3_step(s), SQLITE_DONE);
	check(sqlite3_reset(s), SQLITE_OK);
}

static void open_database(void)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/journal.db", options.directory);
	check(sqlite3_open(path, &db), SQLITE_OK);
	run("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
	    "CREATE TABLE records (seq INTEGER PRIMARY KEY, time_us INTEGER NOT NULL,"
	    " kind INTEGER NOT NULL, quality INTEGER NOT NULL, device TEXT NOT NULL,"
	    " stream TEXT NOT NULL, body BLOB NOT NULL)");
}

static void insert(sqlite3_stmt *s, uint64_t i)
{
	struct fg_message msg = measure_message(i);

	sqlite3_bind_int64(s, 1, (sqlite3_int64)i + 1);
	sqlite3_bind_int64(s, 2, msg.time_us);
	sqlite3_bind_int(s, 3, (int)msg.kind);
	sqlite3_bind_int(s, 4, (int)msg.time_quality);
	sqlite3_bind_text(s, 5, msg.device.data, (int)msg.device.size, SQLITE_STATIC);
	sqlite3_bind_text(s, 6, "", 0, SQLITE_STATIC);
	sqlite3_bind_blob(s, 7, msg.body.data, (int)msg.body.size, SQLITE_STATIC);
	step(s);
}

/* All that is there above *@position, READ_RECORDS at a time. Returns how many records. */
static uint64_t read_on(sqlite3_stmt *s, sqlite3_int64 *position)
{
	uint64_t n_all = 0, n;
	int r;

	do {
		sqlite3_bind_int64(s, 1, *position);
		for (n = 0; (r = sqlite3_step(s)) == SQLITE_ROW; n++) {
			const char *body = sqlite3_column_blob(s, 5);

			if (sqlite3_column_bytes(s, 5) != MEASURE_BODY_BYTES || body[0] != '{')
				measure_fail("a record is not what was written", 0);
			*position = sqlite3_column_int64(s, 0);
		}
		check(r, SQLITE_DONE);
		check(sqlite3_reset(s), SQLITE_OK);
		n_all += n;
	} while (n == READ_RECORDS);
	return n_all;
}

static void append_and_read(struct measure_run *out)
{
	sqlite3_stmt *begin = statement("BEGIN IMMEDIATE"), *commit = statement("COMMIT");
	sqlite3_stmt *add = statement("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)");
	sqlite3_stmt *delete = statement("DELETE FROM records WHERE seq <= ?");
	sqlite3_stmt *select = statement("SELECT seq, time_us, kind, quality, device, body "
					 "FROM records WHERE seq > ? ORDER BY seq LIMIT 512");
	sqlite3_int64 position = 0;
	uint64_t n_read = 0;

	measure_start(out, options.batch, options.directory);
	while (measure_goes_on(out, options.seconds, options.max_bytes)) {
		step(begin);
		sqlite3_bind_int64(delete, 1, position);
		if (!options.deletes_apart)
			step(delete);
		for (uint64_t i = 0; i < options.batch; i++)
			insert(add, out->records + i);
		step(commit);
		out->records += options.batch;
		out->commits++;
		n_read += read_on(select, &position);
		sqlite3_bind_int64(delete, 1, position);
		if (options.deletes_apart)
			step(delete);
	}
	measure_stop(out, options.directory);
	if (n_read != out->records)
		measure_fail("the reader has not read all", 0);
	sqlite3_finalize(begin);
	sqlite3_finalize(commit);
	sqlite3_finalize(add);
	sqlite3_finalize(delete);
	sqlite3_finalize(select);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"batch", required_argument, NULL, 'b'},
		{"bytes", required_argument, NULL, 'B'},
		{"seconds", required_argument, NULL, 's'},
		{"delete-apart", no_argument, NULL, 'a'},
		{0},
	};
	struct measure_run appended;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'b')
			options.batch = strtoull(optarg, NULL, 10);
		else if (c == 'B')
			options.max_bytes = strtoull(optarg, NULL, 10);
		else if (c == 's')
			options.seconds = strtod(optarg, NULL);
		else if (c == 'a')
			options.deletes_apart = true;
		else
			return 2;
	}
	if (argc - optind != 1 || options.batch == 0) {
		fprintf(stderr, "usage: bench-sqlite [--batch N] [--bytes N] [--seconds S] "
				"[--delete-apart] DIRECTORY\n");
		return 2;
	}
	options.directory = argv[optind];
	open_database();
	append_and_read(&appended);
	printf("{\"way\": \"sqlite\", \"cursors\": 1, \"version\": \"%s\", ", sqlite3_libversion());
	measure_print(&appended);
	printf("}\n");
	sqlite3_close(db);
	return 0;
}
