#include "control/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/log.h"
#include "util/span.h"

/* A client that says nothing for so long is dropped. */
#define PATIENCE_S 10.

struct fg_control_call {
	struct fg_control *control; /* NULL: the place is free */
	ev_io io;
	ev_timer patience; /* until the request is there */
	char *request;
	size_t request_size;
	bool is_running; /* handed to its command, which has not ended it */
	bool is_ended;   /* all of the answer is in `answer` */

	FILE *stream; /* of the line being written, into line */
	char *line;
	size_t line_size;
	struct fg_object object;
	char *answer; /* not yet taken by the client */
	size_t answer_size, answer_capacity;
};

struct fg_control {
	struct fg_control_options with;
	char *path;
	ev_io io;
	struct fg_control_call calls[FG_CONTROL_CLIENTS_MAX];
};

/* ---- one client */

static void call_free(struct fg_control_call *c)
{
	struct fg_control *control = c->control;

	ev_io_stop(control->with.loop, &c->io);
	ev_timer_stop(control->with.loop, &c->patience);
	close(c->io.fd);
	if (c->stream)
		fclose(c->stream);
	free(c->line);
	free(c->request);
	free(c->answer);
	memset(c, 0, sizeof(*c));
}

/* The client has gone, or is thrown out. */
static void call_drop(struct fg_control_call *c)
{
	struct fg_control *control = c->control;

	if (c->is_running && control->with.gone)
		control->with.gone(control->with.arg, c);
	call_free(c);
}

static void watch(struct fg_control_call *c)
{
	struct ev_loop *loop = c->control->with.loop;
	/* Reading shows when the client goes. */
	int events = EV_READ | (c->answer_size > 0 ? EV_WRITE : 0);

	ev_io_stop(loop, &c->io);
	ev_io_set(&c->io, c->io.fd, events);
	ev_io_start(loop, &c->io);
}

/* Returns false when the client is gone. */
static bool write_some(struct fg_control_call *c)
{
	ssize_t n = send(c->io.fd, c->answer, c->answer_size, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return false;
	if (n > 0) {
		c->answer_size -= (size_t)n;
		memmove(c->answer, c->answer + n, c->answer_size);
	}
	return !(c->is_ended && c->answer_size == 0);
}

static bool append(struct fg_control_call *c, const char *data, size_t size)
{
	size_t capacity = c->answer_capacity;
	char *more;

	if (c->answer_size + size > FG_CONTROL_ANSWER_MAX)
		return false;
	while (capacity < c->answer_size + size)
		capacity = capacity > 0 ? capacity * 2 : 4096;
	if (capacity != c->answer_capacity) {
		more = realloc(c->answer, capacity);
		if (!more)
			return false;
		c->answer = more;
		c->answer_capacity = capacity;
	}
	memcpy(c->answer + c->answer_size, data, size);
	c->answer_size += size;
	return true;
}

struct fg_object *fg_control_line(struct fg_control_call *c)
{
	static struct fg_object nowhere; /* without memory: what is added goes to nobody */
	static FILE *sink;

	c->stream = open_memstream(&c->line, &c->line_size);
	if (c->stream) {
		fg_object_begin(&c->object, c->stream);
		return &c->object;
	}
	if (!sink)
		sink = fopen("/dev/null", "w");
	fg_object_begin(&nowhere, sink);
	return &nowhere;
}

void fg_control_line_end(struct fg_control_call *c)
{
	if (!c->stream)
		return;
	fg_object_end(&c->object);
	fclose(c->stream);
	c->stream = NULL;
	append(c, c->line, c->line_size);
	free(c->line);
	c->line = NULL;
	if (!ev_is_pending(&c->io) && c->is_running)
		watch(c);
}

void fg_control_end(struct fg_control_call *c, const char *error)
{
	struct fg_object *o = fg_control_line(c);

	c->is_running = false;
	if (error)
		fg_object_add_string(o, "error", error);
	else
		fg_object_add_bool(o, "done", true);
	fg_control_line_end(c);
	c->is_ended = true;
	watch(c);
}

bool fg_control_text(struct fg_json_value request, const char *name, char *out, size_t out_size)
{
	struct fg_json_value value;
	struct fg_span raw;

	if (!fg_json_member(request, fg_span_str(name), &value) || value.type != FG_JSON_STRING)
		return false;
	raw = fg_span_of(value.text.data + 1, value.text.size - 2);
	if (raw.size >= out_size)
		return false;
	out[fg_json_unescape(raw, out)] = '\0';
	return true;
}

/* ---- requests */

static void run(struct fg_control_call *c)
{
	const struct fg_control *control = c->control;
	const struct fg_control_command *command = control->with.commands;
	struct fg_json_fault fault;
	struct fg_json_value request;
	char name[64];

	ev_timer_stop(control->with.loop, &c->patience);
	if (fg_json_check(fg_span_of(c->request, c->request_size), &request, &fault) < 0 ||
	    request.type != FG_JSON_OBJECT ||
	    !fg_control_text(request, "command", name, sizeof(name))) {
		fg_control_end(c, "the request is not a JSON object with a \"command\"");
		return;
	}
	while (command->name && strcmp(command->name, name) != 0)
		command++;
	if (!command->name) {
		fg_control_end(c, "this version of fieldgate has no such command");
		return;
	}
	c->is_running = true;
	command->run(control->with.arg, c, request);
}

/* Returns false when the client is gone, or sends what it must not. */
static bool read_some(struct fg_control_call *c)
{
	char *end;
	ssize_t n;

	/* What follows the request is not looked at. */
	if (c->is_running || c->is_ended) {
		char rest[256];

		n = recv(c->io.fd, rest, sizeof(rest), MSG_DONTWAIT);
		return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
	}
	if (c->request_size == FG_CONTROL_REQUEST_MAX)
		return false;
	n = recv(c->io.fd, c->request + c->request_size, FG_CONTROL_REQUEST_MAX - c->request_size,
		 MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	end = memchr(c->request + c->request_size, '\n', (size_t)n);
	c->request_size += (size_t)n;
	if (end) {
		c->request_size = (size_t)(end - c->request);
		run(c);
	}
	return true;
}

static void client_ready(struct ev_loop *loop, ev_io *w, int events)
{
	struct fg_control_call *c = w->data;

	(void)loop;
	if ((events & EV_READ) && !read_some(c)) {
		call_drop(c);
		return;
	}
	if (c->answer_size > 0 || c->is_ended) {
		if (!write_some(c)) {
			call_drop(c);
			return;
		}
	}
	watch(c);
}

static void client_is_slow(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	call_drop(w->data);
}

/* ---- the socket */

/* The mode of the socket keeps others out; this holds where its directory was opened too far. */
static bool may_use(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static void client_came(struct ev_loop *loop, ev_io *w, int events)
{
	struct fg_control *control = w->data;
	struct fg_control_call *c = control->calls;
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		return;
	while (c < control->calls + FG_CONTROL_CLIENTS_MAX && c->control)
		c++;
	if (c == control->calls + FG_CONTROL_CLIENTS_MAX || !may_use(fd)) {
		close(fd);
		return;
	}
	c->request = malloc(FG_CONTROL_REQUEST_MAX);
	if (!c->request) {
		close(fd);
		return;
	}
	c->control = control;
	ev_io_init(&c->io, client_ready, fd, EV_READ);
	ev_timer_init(&c->patience, client_is_slow, PATIENCE_S, 0.);
	c->io.data = c->patience.data = c;
	ev_io_start(loop, &c->io);
	ev_timer_start(loop, &c->patience);
}

/* Returns a socket that listens, or a negative errno. */
static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t before;
	int fd, r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* Whoever holds the state directory's lock owns the name. */
	unlink(path);
	before = umask(0177);
	r = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
			    listen(fd, FG_CONTROL_CLIENTS_MAX) < 0
		    ? -errno
		    : 0;
	umask(before);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

int fg_control_open(const struct fg_control_options *options, struct fg_control **ret,
		    struct fg_error *err)
{
	struct fg_control *c = calloc(1, sizeof(*c));
	int fd;

	if (!c)
		return -ENOMEM;
	c->with = *options;
	c->path = strdup(options->path);
	if (!c->path) {
		free(c);
		return -ENOMEM;
	}
	fd = listen_at(c->path);
	if (fd < 0) {
		fg_error_set(err, fd, "control socket %s: %s", c->path, strerror(-fd));
		free(c->path);
		free(c);
		return fd;
	}
	ev_io_init(&c->io, client_came, fd, EV_READ);
	c->io.data = c;
	ev_io_start(options->loop, &c->io);
	*ret = c;
	return 0;
}

struct fg_control *fg_control_free(struct fg_control *c)
{
	if (!c)
		return NULL;
	for (size_t i = 0; i < FG_CONTROL_CLIENTS_MAX; i++)
		if (c->calls[i].control)
			call_drop(&c->calls[i]);
	ev_io_stop(c->with.loop, &c->io);
	close(c->io.fd);
	unlink(c->path);
	free(c->path);
	free(c);
	return NULL;
}
