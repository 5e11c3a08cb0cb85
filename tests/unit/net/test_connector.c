#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "net/connector.h"

struct task {
	struct fg_connector_job job;
	sem_t go, has_begun, is_over;
	sem_t is_orphaned;
	pthread_t thread;
	bool blocks_signals;
	unsigned n_done;
};

static struct ev_loop *loop;
static struct fg_connector *connector;

static struct task *task_of(struct fg_connector_job *job)
{
	return (struct task *)((char *)job - offsetof(struct task, job));
}

static void work(struct fg_connector_job *job)
{
	struct task *t = task_of(job);
	sigset_t signals;

	t->thread = pthread_self();
	pthread_sigmask(SIG_SETMASK, NULL, &signals);
	t->blocks_signals = sigismember(&signals, SIGTERM) == 1;
	sem_post(&t->has_begun);
	sem_wait(&t->go);
	sem_post(&t->is_over);
}

static void done(struct fg_connector_job *job)
{
	task_of(job)->n_done++;
}

static void orphaned(struct fg_connector_job *job)
{
	sem_post(&task_of(job)->is_orphaned);
}

static void task_init(struct task *t)
{
	*t = (struct task){.job = {.work = work, .done = done, .orphaned = orphaned}};
	sem_init(&t->is_orphaned, 0, 0);
	sem_init(&t->go, 0, 0);
	sem_init(&t->has_begun, 0, 0);
	sem_init(&t->is_over, 0, 0);
}

static void timer_over(struct ev_loop *l, ev_timer *w, int events)
{
	(void)w;
	(void)events;
	ev_break(l, EVBREAK_ALL);
}

/* Turn the loop until @t is done, five seconds at most. */
static void wait_for(struct task *t)
{
	ev_timer limit;

	ev_timer_init(&limit, timer_over, 5., 0.);
	ev_timer_start(loop, &limit);
	while (t->n_done == 0 && ev_is_active(&limit))
		ev_run(loop, EVRUN_ONCE);
	ev_timer_stop(loop, &limit);
	assert_int_equal(t->n_done, 1);
}

static int setup(void **state)
{
	(void)state;
	loop = ev_loop_new(EVFLAG_AUTO);
	return fg_connector_new(loop, &connector);
}

static int teardown(void **state)
{
	(void)state;
	connector = fg_connector_free(connector);
	ev_loop_destroy(loop);
	return 0;
}

static void a_job_works_on_a_thread_and_is_done_on_the_loop(void **state)
{
	struct task t;

	(void)state;
	task_init(&t);
	assert_int_equal(fg_connector_run(connector, &t.job), 0);
	sem_wait(&t.has_begun);
	assert_false(pthread_equal(t.thread, pthread_self()));
	assert_true(t.blocks_signals); /* they belong to the loop */
	ev_run(loop, EVRUN_NOWAIT);
	assert_int_equal(t.n_done, 0);
	sem_post(&t.go);
	wait_for(&t);
}

static void a_slow_job_does_not_delay_another(void **state)
{
	struct task slow, fast;

	(void)state;
	task_init(&slow);
	task_init(&fast);
	assert_int_equal(fg_connector_run(connector, &slow.job), 0);
	assert_int_equal(fg_connector_run(connector, &fast.job), 0);
	sem_post(&fast.go);
	wait_for(&fast);
	assert_int_equal(slow.n_done, 0);
	sem_post(&slow.go);
	wait_for(&slow);
}

static void too_many_jobs_are_refused_until_one_is_done(void **state)
{
	static struct task tasks[FG_CONNECTOR_MAX_JOBS + 1];
	struct task *last = &tasks[FG_CONNECTOR_MAX_JOBS];

	(void)state;
	for (int i = 0; i <= FG_CONNECTOR_MAX_JOBS; i++)
		task_init(&tasks[i]);
	for (int i = 0; i < FG_CONNECTOR_MAX_JOBS; i++)
		assert_int_equal(fg_connector_run(connector, &tasks[i].job), 0);
	assert_int_equal(fg_connector_run(connector, &last->job), -EAGAIN);
	sem_post(&tasks[7].go);
	wait_for(&tasks[7]);
	assert_int_equal(fg_connector_run(connector, &last->job), 0);
	for (int i = 0; i <= FG_CONNECTOR_MAX_JOBS; i++)
		sem_post(&tasks[i].go);
	for (int i = 0; i <= FG_CONNECTOR_MAX_JOBS; i++)
		if (i != 7)
			wait_for(&tasks[i]);
}

static void jobs_at_work_when_it_is_freed_are_told_and_never_done(void **state)
{
	static struct task t;

	(void)state;
	task_init(&t);
	assert_int_equal(fg_connector_run(connector, &t.job), 0);
	sem_wait(&t.has_begun);
	connector = fg_connector_free(connector);
	assert_null(connector);
	sem_post(&t.go);
	sem_wait(&t.is_orphaned);
	ev_run(loop, EVRUN_NOWAIT);
	assert_int_equal(t.n_done, 0);
}

static void *let_go(void *arg)
{
	struct task *t = arg;

	nanosleep(&(struct timespec){.tv_nsec = 50000000},
		  NULL); /* longer than a release that does not wait */
	sem_post(&t->go);
	return NULL;
}

static void a_job_that_is_awaited_has_been_told_when_the_connector_is_freed(void **state)
{
	static struct task awaited, other;
	pthread_t thread;

	(void)state;
	task_init(&awaited);
	task_init(&other);
	awaited.job.is_awaited = true;
	assert_int_equal(fg_connector_run(connector, &awaited.job), 0);
	assert_int_equal(fg_connector_run(connector, &other.job), 0);
	sem_wait(&awaited.has_begun);
	sem_wait(&other.has_begun);
	assert_int_equal(pthread_create(&thread, NULL, let_go, &awaited), 0);
	connector = fg_connector_free(connector);
	assert_int_equal(sem_trywait(&awaited.is_orphaned), 0);
	assert_int_equal(sem_trywait(&other.is_orphaned), -1);
	pthread_join(thread, NULL);
	sem_post(&other.go);
	sem_wait(&other.is_orphaned);
	assert_int_equal(awaited.n_done + other.n_done, 0);
}

static void a_finished_job_nobody_collected_is_told_and_never_done(void **state)
{
	static struct task t;

	(void)state;
	task_init(&t);
	sem_post(&t.go);
	assert_int_equal(fg_connector_run(connector, &t.job), 0);
	sem_wait(&t.is_over);
	connector = fg_connector_free(connector);
	sem_wait(&t.is_orphaned); /* told by the loop's thread or by its own, whoever came last */
	ev_run(loop, EVRUN_NOWAIT);
	assert_int_equal(t.n_done, 0);
	assert_null(fg_connector_free(NULL));
}

static void waiting_for_a_thread_does_not_keep_the_loop_alive(void **state)
{
	(void)state;
	ev_run(loop, 0); /* returns: nothing else is going on */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_job_works_on_a_thread_and_is_done_on_the_loop),
		TEST(a_slow_job_does_not_delay_another),
		TEST(too_many_jobs_are_refused_until_one_is_done),
		TEST(jobs_at_work_when_it_is_freed_are_told_and_never_done),
		TEST(a_job_that_is_awaited_has_been_told_when_the_connector_is_freed),
		TEST(a_finished_job_nobody_collected_is_told_and_never_done),
		TEST(waiting_for_a_thread_does_not_keep_the_loop_alive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
