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

/* How long a client may take for its request, and for each part of the answer. */
#define PATIENCE_S 10.
/* Until it tries again when there was no file descriptor, or no memory, for a client. */
#define PAUSE_S 0.5

struct fg_control_call {
	struct fg_control *control; /* NULL: the place is free */
	ev_io io;
	ev_timer patience; /* for the request; then for the client to take the answer */
	char *request;
	size_t request_size;
	bool is_running; /* handed to its command, which has not ended it */
	bool is_ended;   /* all of the answer is in `answer` */
	bool is_lost;    /* the answer is not whole: too long, or no memory */

	struct fg_object line; /* being written */
	FILE *stream;          /* into `answer` */
	char *answer;
	size_t answer_size, n_taken; /* by the client */
};

struct fg_control {
	struct fg_control_options with;
	char *path;
	double patience_s;
	ev_io io;
	ev_timer pause; /* runs instead of `io` */
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
	free(c->answer);
	free(c->request);
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

static bool has_more(const struct fg_control_call *c)
{
	return c->answer_size > c->n_taken;
}

static void watch(struct fg_control_call *c)
{
	struct ev_loop *loop = c->control->with.loop;
	/* Reading shows when the client goes. */
	int events = EV_READ | (has_more(c) || c->is_lost ? EV_WRITE : 0);

	ev_io_stop(loop, &c->io);
	ev_io_set(&c->io, c->io.fd, events);
	ev_io_start(loop, &c->io);
	if (c->is_running && !has_more(c))
		ev_timer_stop(loop, &c->patience);
	else if (!ev_is_active(&c->patience))
		ev_timer_again(loop, &c->patience);
}

/* Returns false when the client is gone, or has all. */
static bool write_some(struct fg_control_call *c)
{
	ssize_t n = send(c->io.fd, c->answer + c->n_taken, c->answer_size - c->n_taken,
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	c->n_taken += (size_t)n;
	ev_timer_again(c->control->with.loop, &c->patience);
	return has_more(c) || !c->is_ended;
}

struct fg_object *fg_control_line(struct fg_control_call *c)
{
	fg_object_begin(&c->line, c->stream);
	return &c->line;
}

void fg_control_line_end(struct fg_control_call *c)
{
	fg_object_end(&c->line);
	if (fflush(c->stream) != 0 || ferror(c->stream) || c->answer_size > FG_CONTROL_ANSWER_MAX)
		c->is_lost = true;
	watch(c);
}

void fg_control_end(struct fg_control_call *c, const char *error)
{
	struct fg_object *o = fg_control_line(c);

	if (error)
		fg_object_add_string(o, "error", error);
	else
		fg_object_add_bool(o, "done", true);
	c->is_running = false;
	c->is_ended = true;
	fg_control_line_end(c);
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

bool fg_control_number(struct fg_json_value value, uint64_t *ret)
{
	uint64_t number = 0;

	if (value.type != FG_JSON_INTEGER || value.text.data[0] == '-')
		return false;
	for (size_t i = 0; i < value.text.size; i++)
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(value.text.data[i] - '0'), &number))
			return false;
	*ret = number;
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
	if (c->is_lost || (has_more(c) && !write_some(c))) {
		call_drop(c);
		return;
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

/* Tell a client that was just let in why it cannot stay; what is lost is only the reason. */
static void turn_away(int fd, const char *line)
{
	send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

static bool call_begin(struct fg_control *control, struct fg_control_call *c, int fd)
{
	c->request = malloc(FG_CONTROL_REQUEST_MAX);
	c->stream = c->request ? open_memstream(&c->answer, &c->answer_size) : NULL;
	if (!c->stream) {
		free(c->request);
		c->request = NULL;
		return false;
	}
	c->control = control;
	ev_io_init(&c->io, client_ready, fd, EV_READ);
	ev_timer_init(&c->patience, client_is_slow, 0., control->patience_s);
	c->io.data = c->patience.data = c;
	ev_io_start(control->with.loop, &c->io);
	ev_timer_again(control->with.loop, &c->patience);
	return true;
}

static void client_came(struct ev_loop *loop, ev_io *w, int events)
{
	struct fg_control *control = w->data;
	struct fg_control_call *c = control->calls;
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
		/* The client stays in the row, and would wake us up again at once. */
		ev_io_stop(loop, &control->io);
		ev_timer_start(loop, &control->pause);
	}
	if (fd < 0)
		return;
	while (c < control->calls + FG_CONTROL_CLIENTS_MAX && c->control)
		c++;
	if (!may_use(fd))
		turn_away(fd, "{\"error\":\"only root and the user fieldgate runs as may\"}\n");
	else if (c == control->calls + FG_CONTROL_CLIENTS_MAX || !call_begin(control, c, fd))
		turn_away(fd, "{\"error\":\"fieldgate is busy with others: try again\"}\n");
}

static void pause_is_over(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_control *control = w->data;

	(void)events;
	ev_io_start(loop, &control->io);
}

/* Returns a socket that listens, or a negative errno. */
static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* Whoever holds the state directory's lock owns the name. */
	unlink(path);
	/* Linux gives the name the mode of the socket, so it is never open to others. */
	r = fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
			    listen(fd, FG_CONTROL_CLIENTS_MAX) < 0
		    ? -errno
		    : 0;
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
	c->patience_s = options->patience_s > 0. ? options->patience_s : PATIENCE_S;
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
	ev_timer_init(&c->pause, pause_is_over, PAUSE_S, 0.);
	c->io.data = c->pause.data = c;
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
	ev_timer_stop(c->with.loop, &c->pause);
	close(c->io.fd);
	unlink(c->path);
	free(c->path);
	free(c);
	return NULL;
}
