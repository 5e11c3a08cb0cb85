#include "faultfs.h"

/* Does this call fail? */
static bool is_hit(struct fault_fs *f, enum fault_call call)
{
	const struct fault *t = &f->fault;
	uint64_t n = ++f->calls[call];

	if (t->nth == 0 || t->call != call || n < t->nth || n - t->nth > t->more)
		return false;
	f->n_failed++;
	return true;
}

static int fault_mkdir(void *ctx, const char *path)
{
	struct fault_fs *f = ctx;
	bool hit = is_hit(f, FAULT_MKDIR);
	int r = hit && !f->fault.is_done ? 0 : f->below->mkdir(f->below->ctx, path);

	return hit ? f->fault.error : r;
}

static int fault_list(void *ctx, const char *path, int (*each)(void *arg, const char *name),
		      void *arg)
{
	struct fault_fs *f = ctx;

	if (is_hit(f, FAULT_LIST))
		return f->fault.error;
	return f->below->list(f->below->ctx, path, each, arg);
}

static int fault_open(void *ctx, const char *path, bool create)
{
	struct fault_fs *f = ctx;
	bool hit = is_hit(f, create ? FAULT_CREATE : FAULT_OPEN);
	int file;

	if (hit && !f->fault.is_done)
		return f->fault.error;
	file = f->below->open(f->below->ctx, path, create);
	if (hit && file >= 0)
		f->below->close(f->below->ctx, file);
	if (hit)
		return f->fault.error;
	f->n_open += file >= 0;
	return file;
}

static void fault_close(void *ctx, int file)
{
	struct fault_fs *f = ctx;

	f->n_open--;
	f->below->close(f->below->ctx, file);
}

static ssize_t fault_read(void *ctx, int file, void *data, size_t size, uint64_t offset)
{
	struct fault_fs *f = ctx;

	if (is_hit(f, FAULT_READ))
		return f->fault.error;
	return f->below->read(f->below->ctx, file, data, size, offset);
}

static ssize_t fault_write(void *ctx, int file, const void *data, size_t size, uint64_t offset)
{
	struct fault_fs *f = ctx;
	bool hit = is_hit(f, FAULT_WRITE);
	ssize_t n;

	if (hit && f->fault.error < 0 && !f->fault.is_done)
		return f->fault.error;
	if (hit && f->fault.error == 0)
		size /= 2;
	n = f->below->write(f->below->ctx, file, data, size, offset);
	return hit && f->fault.error < 0 ? f->fault.error : n;
}

static int fault_allocate(void *ctx, int file, uint64_t size)
{
	struct fault_fs *f = ctx;
	bool hit = is_hit(f, FAULT_ALLOCATE);
	int r = hit && !f->fault.is_done ? 0 : f->below->allocate(f->below->ctx, file, size);

	return hit ? f->fault.error : r;
}

static int fault_truncate(void *ctx, int file, uint64_t size)
{
	struct fault_fs *f = ctx;
	bool hit = is_hit(f, FAULT_TRUNCATE);
	int r = hit && !f->fault.is_done ? 0 : f->below->truncate(f->below->ctx, file, size);

	return hit ? f->fault.error : r;
}

static int fault_sync(void *ctx, int file)
{
	struct fault_fs *f = ctx;
	bool hit = is_hit(f, FAULT_SYNC);
	int r = hit && !f->fault.is_done ? 0 : f->below->sync(f->below->ctx, file);

	return hit ? f->fault.error : r;
}

static int64_t fault_size(void *ctx, int file)
{
	struct fault_fs *f = ctx;

	if (is_hit(f, FAULT_SIZE))
		return f->fault.error;
	return f->below->size(f->below->ctx, file);
}

static int fault_rename(void *ctx, const char *from, const char *to)
{
	struct fault_fs *f = ctx;
	bool hit = is_hit(f, FAULT_RENAME);
	int r = hit && !f->fault.is_done ? 0 : f->below->rename(f->below->ctx, from, to);

	return hit ? f->fault.error : r;
}

static int fault_unlink(void *ctx, const char *path)
{
	struct fault_fs *f = ctx;
	bool hit = is_hit(f, FAULT_UNLINK);
	int r = hit && !f->fault.is_done ? 0 : f->below->unlink(f->below->ctx, path);

	return hit ? f->fault.error : r;
}

static int fault_sync_dir(void *ctx, const char *path)
{
	struct fault_fs *f = ctx;
	bool hit = is_hit(f, FAULT_SYNC_DIR);
	int r = hit && !f->fault.is_done ? 0 : f->below->sync_dir(f->below->ctx, path);

	return hit ? f->fault.error : r;
}

void fault_fs_init(struct fault_fs *f, struct fg_fs *below)
{
	*f = (struct fault_fs){
		.fs =
			{
				.ctx = f,
				.mkdir = fault_mkdir,
				.list = fault_list,
				.open = fault_open,
				.close = fault_close,
				.read = fault_read,
				.write = fault_write,
				.allocate = fault_allocate,
				.truncate = fault_truncate,
				.sync = fault_sync,
				.size = fault_size,
				.rename = fault_rename,
				.unlink = fault_unlink,
				.sync_dir = fault_sync_dir,
			},
		.below = below,
	};
}

void fault_fs_set(struct fault_fs *f, const struct fault *fault)
{
	f->fault = *fault;
	f->n_failed = 0;
	for (int i = 0; i < FAULT_N_CALLS; i++)
		f->calls[i] = 0;
}

const char *fault_call_name(enum fault_call call)
{
	static const char *const names[FAULT_N_CALLS] = {
		"mkdir",    "list", "open", "create", "read",   "write",    "allocate",
		"truncate", "sync", "size", "rename", "unlink", "sync_dir",
	};

	return names[call];
}
