#include "net/connector.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

/* getaddrinfo() with nss modules and OpenSSL's handshake fit well; the default of 8 MiB is address
 * space only. */
#define STACK_BYTES (512 * 1024)

struct fg_connector {
	struct ev_loop *loop;
	ev_async wake;
	pthread_mutex_t mutex; /* guards the members below */
	pthread_cond_t awaited_have_ended;
	struct fg_connector_job *finished;
	unsigned n_running; /* started and not yet collected, and who is closing it */
	unsigned n_awaited; /* of these */
	bool is_closed;     /* the last to end releases the struct */
};

static void connector_release(struct fg_connector *c)
{
	pthread_cond_destroy(&c->awaited_have_ended);
	pthread_mutex_destroy(&c->mutex);
	free(c);
}

/* One job is over, or who closed @c is through; nobody touches @c after the last. */
static void collect(struct fg_connector *c, bool is_awaited)
{
	bool is_last;

	pthread_mutex_lock(&c->mutex);
	if (is_awaited && --c->n_awaited == 0)
		pthread_cond_signal(&c->awaited_have_ended);
	is_last = --c->n_running == 0 && c->is_closed;
	pthread_mutex_unlock(&c->mutex);
	if (is_last)
		connector_release(c);
}

static void *connector_thread(void *arg)
{
	struct fg_connector_job *job = arg;
	struct fg_connector *c = job->connector;
	bool is_awaited = job->is_awaited;
	bool is_orphan;

	job->work(job);

	pthread_mutex_lock(&c->mutex);
	is_orphan = c->is_closed;
	if (!is_orphan) {
		job->next = c->finished;
		c->finished = job;
		ev_async_send(c->loop, &c->wake);
	}
	pthread_mutex_unlock(&c->mutex);
	if (is_orphan) {
		job->orphaned(job); /* may release it */
		collect(c, is_awaited);
	}
	return NULL;
}

static void connector_woken(struct ev_loop *loop, ev_async *w, int events)
{
	struct fg_connector *c = w->data;
	struct fg_connector_job *job;

	(void)loop;
	(void)events;
	pthread_mutex_lock(&c->mutex);
	job = c->finished;
	c->finished = NULL;
	for (struct fg_connector_job *each = job; each; each = each->next) {
		c->n_running--;
		c->n_awaited -= each->is_awaited;
	}
	pthread_mutex_unlock(&c->mutex);
	while (job) {
		struct fg_connector_job *next = job->next;

		job->done(job);
		job = next;
	}
}

int fg_connector_new(struct ev_loop *loop, struct fg_connector **ret)
{
	struct fg_connector *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->loop = loop;
	pthread_mutex_init(&c->mutex, NULL);
	pthread_cond_init(&c->awaited_have_ended, NULL);
	ev_async_init(&c->wake, connector_woken);
	c->wake.data = c;
	ev_async_start(loop, &c->wake);
	ev_unref(loop); /* waiting for a thread is no reason to stay */
	*ret = c;
	return 0;
}

struct fg_connector *fg_connector_free(struct fg_connector *c)
{
	struct fg_connector_job *job;

	if (!c)
		return NULL;
	ev_ref(c->loop);
	ev_async_stop(c->loop, &c->wake);
	pthread_mutex_lock(&c->mutex);
	job = c->finished;
	c->is_closed = true;
	c->n_running++;
	pthread_mutex_unlock(&c->mutex);
	while (job) {
		struct fg_connector_job *next = job->next;
		bool is_awaited = job->is_awaited;

		job->orphaned(job);
		collect(c, is_awaited);
		job = next;
	}
	pthread_mutex_lock(&c->mutex);
	while (c->n_awaited > 0)
		pthread_cond_wait(&c->awaited_have_ended, &c->mutex);
	pthread_mutex_unlock(&c->mutex);
	collect(c, false);
	return NULL;
}

int fg_connector_run(struct fg_connector *c, struct fg_connector_job *job)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	int r;

	pthread_mutex_lock(&c->mutex);
	r = c->n_running >= FG_CONNECTOR_MAX_JOBS ? EAGAIN : 0;
	if (r == 0) {
		c->n_running++;
		c->n_awaited += job->is_awaited;
	}
	pthread_mutex_unlock(&c->mutex);
	if (r != 0)
		return -r;

	job->connector = c;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	/* Signals belong to the loop's thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread, &attributes, connector_thread, job);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (r != 0)
		collect(c, job->is_awaited);
	return -r;
}
