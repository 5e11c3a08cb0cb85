/*
 * Input: what a client sends to the control socket, in pieces that end where a NUL stands; or, behind
 * the letter A, a line of the answer as fieldgatectl takes it. What is checked: that every request gets
 * one answer and the connection ends, and that members are taken within their bounds.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../fuzz.h"
#include "control/client.h"
#include "control/server.h"

static struct ev_loop *loop;
static struct fg_control *server;
static char directory[] = "/tmp/fieldgate-fuzz-XXXXXX";
static char path[64];

/* Everything a command may do with a request. */
static void echo(void *arg, struct fg_control_call *call, struct fg_json_value request)
{
	struct fg_json_walk walk;
	struct fg_json_member m;
	char text[16] = "";
	uint64_t number = 0;

	(void)arg;
	fg_control_text(request, "text", text, sizeof(text));
	REQUIRE(strlen(text) < sizeof(text));
	fg_object_add_string(fg_control_line(call), "text", text);
	fg_control_line_end(call);
	fg_json_walk_begin(&walk, request);
	while (fg_json_walk_next(&walk, &m))
		if (fg_control_number(m.value, &number))
			REQUIRE(m.value.type == FG_JSON_INTEGER);
	fg_control_end(call, number == 7 ? "seven" : NULL);
}

static const struct fg_control_command commands[] = {{"echo", echo}, {0}};

static void clean_up(void)
{
	fg_control_free(server);
	rmdir(directory);
	ev_loop_destroy(loop);
}

static void begin(void)
{
	struct fg_control_options options = {.path = path, .commands = commands};
	struct fg_error err = {0};

	REQUIRE(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/control", directory);
	options.loop = loop = ev_loop_new(EVFLAG_AUTO);
	REQUIRE(fg_control_open(&options, &server, &err) == 0);
	atexit(clean_up);
}

static void turn(void)
{
	for (int i = 0; i < 4; i++)
		ev_run(loop, EVRUN_NOWAIT);
}

static void request(const char *data, size_t size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	bool has_line = memchr(data, '\n', size) != NULL && size < FG_CONTROL_REQUEST_MAX;
	char answer[4096];
	size_t n_heard = 0;
	ssize_t n;

	strcpy(address.sun_path, path);
	REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	while (size > 0) {
		const char *nul = memchr(data, '\0', size);
		size_t piece = nul ? (size_t)(nul - data) + 1 : size;

		if (send(fd, data, piece, MSG_NOSIGNAL) < 0)
			break; /* it has heard enough */
		data += piece;
		size -= piece;
		turn();
	}
	shutdown(fd, SHUT_WR);
	turn();
	while ((n = recv(fd, answer + n_heard, sizeof(answer) - n_heard, 0)) > 0)
		n_heard += (size_t)n;
	/* The answer of such a request fits the buffer, so only the end is left, or unread rubbish. */
	REQUIRE(n == 0 || errno == ECONNRESET);
	REQUIRE(!has_line || (n_heard > 0 && answer[n_heard - 1] == '\n'));
	close(fd);
}

static void answer(struct fg_span line)
{
	struct fg_json_value object;
	struct fg_json_fault fault;
	char text[8];

	if (fg_json_check(line, &object, &fault) < 0 || object.type != FG_JSON_OBJECT)
		return;
	fg_client_text(object, "name", text, sizeof(text));
	REQUIRE(strlen(text) < sizeof(text));
	fg_client_number(object, "number");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!server)
		begin();
	if (size > 0 && data[0] == 'A')
		answer(fg_span_of(data + 1, size - 1));
	else
		request((const char *)data, size);
	return 0;
}
