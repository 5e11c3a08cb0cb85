/* The control socket: a server on a loop, clients that behave, and clients that do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/client.h"
#include "control/server.h"

#define PATIENCE_S 1.5 /* longer than a loaded machine takes to fill all places */

struct fixture {
	char dir[64], path[96];
	struct ev_loop *loop;
	struct fg_control *server;
	struct fg_control_call *held; /* by the command "hold" */
	unsigned n_run, n_gone;
};

/* ---- the commands of this server */

static void run_hold(void *arg, struct fg_control_call *call, struct fg_json_value request)
{
	struct fixture *f = arg;

	(void)request;
	f->n_run++;
	f->held = call;
}

static void run_echo(void *arg, struct fg_control_call *call, struct fg_json_value request)
{
	struct fixture *f = arg;
	char text[16];

	f->n_run++;
	if (!fg_control_text(request, "text", text, sizeof(text))) {
		fg_control_end(call, "no text");
		return;
	}
	fg_object_add_string(fg_control_line(call), "text", text);
	fg_control_line_end(call);
	fg_control_end(call, NULL);
}

/* As many lines of 1000 bytes as "lines" says. */
static void run_flood(void *arg, struct fg_control_call *call, struct fg_json_value request)
{
	struct fixture *f = arg;
	struct fg_json_value value;
	uint64_t n = 0;
	char text[1001];

	f->n_run++;
	memset(text, 'x', 1000);
	text[1000] = '\0';
	assert_true(fg_json_member(request, fg_span_str("lines"), &value));
	assert_true(fg_control_number(value, &n));
	for (uint64_t i = 0; i < n; i++) {
		fg_object_add_string(fg_control_line(call), "text", text);
		fg_control_line_end(call);
	}
	fg_control_end(call, NULL);
}

static const struct fg_control_command commands[] = {
	{"hold", run_hold},
	{"echo", run_echo},
	{"flood", run_flood},
	{0},
};

static void gone(void *arg, struct fg_control_call *call)
{
	struct fixture *f = arg;

	assert_ptr_equal(call, f->held);
	f->held = NULL;
	f->n_gone++;
}

static void open_server(struct fixture *f)
{
	struct fg_control_options options = {
		.loop = f->loop,
		.path = f->path,
		.commands = commands,
		.gone = gone,
		.arg = f,
		.patience_s = PATIENCE_S,
	};
	struct fg_error err = {0};

	assert_int_equal(fg_control_open(&options, &f->server, &err), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->dir, "/tmp/fieldgate-control-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/control", f->dir);
	f->loop = ev_loop_new(EVFLAG_AUTO);
	open_server(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fg_control_free(f->server);
	assert_int_equal(access(f->path, F_OK), -1);
	ev_loop_destroy(f->loop);
	rmdir(f->dir);
	free(f);
	return 0;
}

/* ---- a client whose every byte is said here */

static int client(const struct fixture *f)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, f->path);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void turn(struct fixture *f)
{
	for (int i = 0; i < 10; i++)
		ev_run(f->loop, EVRUN_NOWAIT);
}

static void say(struct fixture *f, int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	turn(f);
}

/* All that comes until the server ends the connection, NUL-terminated; the caller frees it. */
static char *hear(struct fixture *f, int fd)
{
	size_t size = 0, room = (size_t)8 << 20;
	char *text = malloc(room);
	ssize_t n;

	assert_non_null(text);
	while ((n = recv(fd, text + size, room - size - 1, 0)) != 0) {
		if (n > 0)
			size += (size_t)n;
		else if (errno == EAGAIN)
			ev_run(f->loop, EVRUN_ONCE);
		else
			break;
	}
	text[size] = '\0';
	close(fd);
	return text;
}

static void assert_hears(struct fixture *f, int fd, const char *expected)
{
	char *text = hear(f, fd);

	assert_string_equal(text, expected);
	free(text);
}

static void assert_answer(struct fixture *f, const char *request, const char *expected)
{
	int fd = client(f);

	say(f, fd, request);
	assert_hears(f, fd, expected);
}

#define NO_REQUEST "{\"error\":\"the request is not a JSON object with a \\\"command\\\"\"}\n"

/* ---- requests */

static void a_request_is_answered_line_by_line_and_the_connection_ends(void **state)
{
	assert_answer(*state, "{\"command\":\"echo\",\"text\":\"a \\\"b\\\"\"}\n",
		      "{\"text\":\"a \\\"b\\\"\"}\n{\"done\":true}\n");
}

static void a_request_may_come_byte_by_byte(void **state)
{
	const char *request = "{\"command\":\"echo\",\"text\":\"x\"}\n";
	struct fixture *f = *state;
	int fd = client(f);

	for (const char *at = request; *at; at++)
		say(f, fd, (char[]){*at, '\0'});
	assert_hears(f, fd, "{\"text\":\"x\"}\n{\"done\":true}\n");
}

static void what_follows_a_request_is_not_looked_at(void **state)
{
	struct fixture *f = *state;

	assert_answer(f, "{\"command\":\"echo\",\"text\":\"x\"}\n{\"command\":\"hold\"}\n",
		      "{\"text\":\"x\"}\n{\"done\":true}\n");
	assert_int_equal(f->n_run, 1);
}

static void what_is_no_request_gets_an_error(void **state)
{
	static const char *const wrong[] = {
		"\n",
		"{}\n",
		"[]\n",
		"\"command\"\n",
		"{\"command\":1}\n",
		"{\"command\":\"echo\"\n",
		"{\"command\":\"echo\"}}\n",
		"{\"command\":\"\xff\"}\n",
		"GET / HTTP/1.1\r\n",
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_answer(*state, wrong[i], NO_REQUEST);
	assert_int_equal(((struct fixture *)*state)->n_run, 0);
}

static void a_command_that_nobody_knows_gets_an_error(void **state)
{
	assert_answer(*state, "{\"command\":\"reboot\"}\n",
		      "{\"error\":\"this version of fieldgate has no such command\"}\n");
}

static void text_that_is_too_long_is_none(void **state)
{
	assert_answer(*state, "{\"command\":\"echo\",\"text\":\"fifteen letters\"}\n",
		      "{\"text\":\"fifteen letters\"}\n{\"done\":true}\n");
	assert_answer(*state, "{\"command\":\"echo\",\"text\":\"sixteen letters.\"}\n",
		      "{\"error\":\"no text\"}\n");
	assert_answer(*state, "{\"command\":\"echo\",\"text\":15}\n", "{\"error\":\"no text\"}\n");
}

static void only_whole_numbers_that_fit_are_numbers(void **state)
{
	static const struct {
		const char *text;
		bool is_number;
		uint64_t number;
	} cases[] = {
		{"0", true, 0},
		{"18446744073709551615", true, UINT64_MAX},
		{"18446744073709551616", false, 0},
		{"99999999999999999999999", false, 0},
		{"-1", false, 0},
		{"1.0", false, 0},
		{"1e3", false, 0},
		{"\"7\"", false, 0},
		{"NaN", false, 0},
		{"[7]", false, 0},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_json_value value;
		struct fg_json_fault fault;
		uint64_t number = 0;

		assert_int_equal(fg_json_check(fg_span_str(cases[i].text), &value, &fault), 0);
		assert_int_equal(fg_control_number(value, &number), cases[i].is_number);
		assert_true(number == cases[i].number);
	}
}

/* ---- limits */

static void a_request_that_is_too_long_ends_the_connection(void **state)
{
	struct fixture *f = *state;
	char *request = malloc(FG_CONTROL_REQUEST_MAX + 1);
	int fd = client(f);

	memset(request, ' ', FG_CONTROL_REQUEST_MAX);
	request[FG_CONTROL_REQUEST_MAX] = '\0';
	say(f, fd, request);
	say(f, fd, "x");
	assert_hears(f, fd, "");
	free(request);
	assert_answer(f, "{\"command\":\"echo\",\"text\":\"x\"}\n",
		      "{\"text\":\"x\"}\n{\"done\":true}\n");
}

static void a_client_that_says_nothing_or_half_a_line_is_dropped(void **state)
{
	struct fixture *f = *state;
	int silent = client(f), half = client(f);

	say(f, half, "{\"command\":\"echo\",");
	assert_hears(f, silent, "");
	assert_hears(f, half, "");
	assert_int_equal(f->n_run, 0);
}

static void a_long_answer_arrives_whole(void **state)
{
	struct fixture *f = *state;
	int fd = client(f);
	char *text;

	say(f, fd, "{\"command\":\"flood\",\"lines\":3000}\n");
	text = hear(f, fd);
	assert_int_equal(strlen(text), 3000 * 1012 + strlen("{\"done\":true}\n"));
	free(text);
}

static void a_client_that_does_not_read_is_dropped(void **state)
{
	struct fixture *f = *state;
	int fds[FG_CONTROL_CLIENTS_MAX];

	for (int i = 0; i < FG_CONTROL_CLIENTS_MAX; i++) {
		fds[i] = client(f);
		say(f, fds[i], "{\"command\":\"flood\",\"lines\":600}\n");
	}
	/* They fill all places, until patience with them ends. */
	assert_answer(f, "", "{\"error\":\"fieldgate is busy with others: try again\"}\n");
	ev_sleep(2 * PATIENCE_S);
	turn(f);
	assert_answer(f, "{\"command\":\"echo\",\"text\":\"x\"}\n",
		      "{\"text\":\"x\"}\n{\"done\":true}\n");
	for (int i = 0; i < FG_CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
}

static void an_answer_beyond_all_measure_ends_without_done(void **state)
{
	struct fixture *f = *state;
	int fd = client(f);
	char *text;

	say(f, fd, "{\"command\":\"flood\",\"lines\":5000}\n");
	text = hear(f, fd);
	assert_null(strstr(text, "done"));
	free(text);
}

/* ---- calls that take their time */

static void a_call_may_be_answered_later(void **state)
{
	struct fixture *f = *state;
	int fd = client(f);

	say(f, fd, "{\"command\":\"hold\"}\n");
	assert_non_null(f->held);
	/* Longer than patience with a client: it waits for us, not we for it. */
	ev_sleep(2 * PATIENCE_S);
	turn(f);
	fg_object_add_uint(fg_control_line(f->held), "progress", 1);
	fg_control_line_end(f->held);
	turn(f);
	fg_control_end(f->held, "it did not work");
	assert_hears(f, fd, "{\"progress\":1}\n{\"error\":\"it did not work\"}\n");
	assert_int_equal(f->n_gone, 0);
}

static void whoever_runs_a_call_is_told_that_the_client_has_gone(void **state)
{
	struct fixture *f = *state;
	int fd = client(f);

	say(f, fd, "{\"command\":\"hold\"}\n");
	close(fd);
	turn(f);
	assert_int_equal(f->n_gone, 1);
}

static void whoever_runs_a_call_is_told_that_the_server_closes(void **state)
{
	struct fixture *f = *state;
	int fd = client(f);

	say(f, fd, "{\"command\":\"hold\"}\n");
	f->server = fg_control_free(f->server);
	assert_int_equal(f->n_gone, 1);
	assert_hears(f, fd, "");
	open_server(f);
}

static void clients_at_the_same_time_do_not_mix(void **state)
{
	struct fixture *f = *state;
	int fds[FG_CONTROL_CLIENTS_MAX];
	char text[128];

	for (int i = 0; i < FG_CONTROL_CLIENTS_MAX; i++) {
		fds[i] = client(f);
		snprintf(text, sizeof(text), "{\"command\":\"echo\",\"text\":\"%d", i);
		say(f, fds[i], text);
	}
	for (int i = FG_CONTROL_CLIENTS_MAX - 1; i >= 0; i--) {
		say(f, fds[i], "\"}\n");
		snprintf(text, sizeof(text), "{\"text\":\"%d\"}\n{\"done\":true}\n", i);
		assert_hears(f, fds[i], text);
	}
}

/* ---- the socket */

static void the_socket_is_for_its_owner_only(void **state)
{
	const struct fixture *f = *state;
	struct stat st;

	assert_int_equal(stat(f->path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void what_a_dead_daemon_left_behind_is_replaced(void **state)
{
	struct fixture *f = *state;
	char other[100];

	snprintf(other, sizeof(other), "%s.old", f->path);
	assert_int_equal(link(f->path, other), 0);
	f->server = fg_control_free(f->server);
	assert_int_equal(rename(other, f->path), 0);
	open_server(f);
	assert_answer(f, "{\"command\":\"echo\",\"text\":\"x\"}\n",
		      "{\"text\":\"x\"}\n{\"done\":true}\n");
}

static void a_path_too_long_for_a_socket_is_refused_with_a_sentence(void **state)
{
	struct fixture *f = *state;
	char path[FG_CONTROL_PATH_MAX + 2];
	struct fg_control_options options = {.loop = f->loop, .path = path, .commands = commands};
	struct fg_control *server = NULL;
	struct fg_error err = {0};

	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(fg_control_open(&options, &server, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.text, "control socket /xxx"));
}

/* ---- the client of fieldgatectl: what it makes of what a daemon says */

struct speech {
	int listener;
	const char *text;
};

static void *speak(void *arg)
{
	const struct speech *s = arg;
	int fd = accept(s->listener, NULL, NULL);
	char request[256];

	if (recv(fd, request, sizeof(request), 0) > 0)
		send(fd, s->text, strlen(s->text), MSG_NOSIGNAL);
	close(fd);
	return NULL;
}

static int note(void *arg, struct fg_json_value object)
{
	char text[64];

	strcat(arg, fg_client_text(object, "text", text, sizeof(text)));
	strcat(arg, ";");
	return fg_client_number(object, "stop") ? 7 : 0;
}

/* Ask a daemon that says @answer whatever it is asked. */
static int ask(struct fixture *f, const char *answer, char *ret_heard, struct fg_error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct speech speech = {.text = answer};
	pthread_t thread;
	int r;

	f->server = fg_control_free(f->server);
	strcpy(address.sun_path, f->path);
	speech.listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(speech.listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(speech.listener, 1), 0);
	assert_int_equal(pthread_create(&thread, NULL, speak, &speech), 0);
	ret_heard[0] = '\0';
	r = fg_client_ask(f->dir, fg_span_str("{}"), note, ret_heard, err);
	pthread_join(thread, NULL);
	close(speech.listener);
	open_server(f);
	return r;
}

static void the_client_gives_out_each_object_up_to_done(void **state)
{
	struct fg_error err = {0};
	char heard[256];

	assert_int_equal(ask(*state,
			     "{\"text\":\"a\"}\n{\"text\":\"b\\u00e9\"}\n{\"done\":true}\n{"
			     "\"text\":\"c\"}\n",
			     heard, &err),
			 0);
	assert_string_equal(heard, "a;b\xc3\xa9;");
}

static void the_client_stops_where_it_is_told_to(void **state)
{
	struct fg_error err = {0};
	char heard[256];

	assert_int_equal(ask(*state,
			     "{\"text\":\"a\",\"stop\":1}\n{\"text\":\"b\"}\n{\"done\":true}\n",
			     heard, &err),
			 7);
	assert_string_equal(heard, "a;");
}

static void the_client_tells_what_is_wrong_with_an_answer(void **state)
{
	static const struct {
		const char *answer, *sentence, *heard;
	} cases[] = {
		{"{\"error\":\"no room\"}\n", "no room", ""},
		{"{\"text\":\"a\",\"result\":\"kept\",\"error\":\"x\"}\n",
		 "the daemon has ended the connection", "a;"},
		{"{\"text\":\"a\"}\n", "the daemon has ended the connection", "a;"},
		{"", "the daemon has ended the connection", ""},
		{"{\"text\":\"a\"", "the daemon's answer is not JSON", ""},
		{"HTTP/1.1 400 Bad Request\r\n", "the daemon's answer is not JSON", ""},
		{"[]\n", "the daemon's answer is not JSON", ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_error err = {0};
		char heard[256];

		assert_int_equal(ask(*state, cases[i].answer, heard, &err), -EPROTO);
		assert_string_equal(err.text, cases[i].sentence);
		assert_string_equal(heard, cases[i].heard);
	}
}

/* A client waits to be let in, and there is no file descriptor to do it with. */
static void without_file_descriptors_it_does_not_spin_and_goes_on_later(void **state)
{
	struct fixture *f = *state;
	struct rlimit before, none;
	ev_tstamp began;
	char *answer;
	int fd = client(f), lowest = dup(fd);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_cur = (rlim_t)lowest, .rlim_max = before.rlim_max};
	close(lowest);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	turn(f);
	began = ev_time();
	ev_run(f->loop, EVRUN_ONCE); /* sleeps until it tries again */
	assert_true(ev_time() - began > 0.2);
	assert_int_equal(f->n_run, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	say(f, fd, "{\"command\":\"echo\",\"text\":\"hi\"}\n");
	answer = hear(f, fd);
	assert_string_equal(answer, "{\"text\":\"hi\"}\n{\"done\":true}\n");
	free(answer);
	close(fd);
}

static void without_a_daemon_the_client_says_where_it_looked(void **state)
{
	struct fixture *f = *state;
	struct fg_error err = {0};

	f->server = fg_control_free(f->server);
	assert_int_equal(fg_client_ask(f->dir, fg_span_str("{}"), note, NULL, &err), -ENOTCONN);
	assert_non_null(strstr(err.text, "no fieldgate runs with the state directory /tmp/"));
	open_server(f);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_request_is_answered_line_by_line_and_the_connection_ends),
		CASE(a_request_may_come_byte_by_byte),
		CASE(what_follows_a_request_is_not_looked_at),
		CASE(what_is_no_request_gets_an_error),
		CASE(a_command_that_nobody_knows_gets_an_error),
		CASE(text_that_is_too_long_is_none),
		CASE(only_whole_numbers_that_fit_are_numbers),
		CASE(a_request_that_is_too_long_ends_the_connection),
		CASE(a_client_that_says_nothing_or_half_a_line_is_dropped),
		CASE(a_long_answer_arrives_whole),
		CASE(a_client_that_does_not_read_is_dropped),
		CASE(an_answer_beyond_all_measure_ends_without_done),
		CASE(a_call_may_be_answered_later),
		CASE(whoever_runs_a_call_is_told_that_the_client_has_gone),
		CASE(whoever_runs_a_call_is_told_that_the_server_closes),
		CASE(clients_at_the_same_time_do_not_mix),
		CASE(the_socket_is_for_its_owner_only),
		CASE(without_file_descriptors_it_does_not_spin_and_goes_on_later),
		CASE(what_a_dead_daemon_left_behind_is_replaced),
		CASE(a_path_too_long_for_a_socket_is_refused_with_a_sentence),
		CASE(the_client_gives_out_each_object_up_to_done),
		CASE(the_client_stops_where_it_is_told_to),
		CASE(the_client_tells_what_is_wrong_with_an_answer),
		CASE(without_a_daemon_the_client_says_where_it_looked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
