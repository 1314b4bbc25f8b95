/* SPDX-License-Identifier: Apache-2.0 */
/* instance_id: a file of one line. */
#include "main/instance_id.h"

#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define ID_MAX 256

/* What the file holds; empty when there is none. */
static struct str read_id(struct arena *a, const char *path)
{
    char text[ID_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text));
    if (fd >= 0) {
        close(fd);
    }
    struct str line = str_of(text, n > 0 ? (size_t)n : 0);
    const ptrdiff_t end = str_index(line, '\n');
    return arena_str(a, str_trim(end < 0 ? line : str_head(line, (size_t)end)));
}

static int write_id(const char *path, struct str id, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    bool written = fd >= 0 && write(fd, id.p, id.n) == (ssize_t)id.n && fsync(fd) == 0;
    int why = errno;
    if (fd >= 0) {
        close(fd);
    }
    return written ? 0 : err_set(e, "cannot write the instance id to %s: %s", path, strerror(why));
}

int instance_id_load(const char *data, const struct settings *s, struct str *id, struct err *e)
{
    struct arena *a = arena_new(512); /* for the life of the process */
    char path[4096];
    snprintf(path, sizeof(path), "%s/apisix.uid", data);
    *id = read_id(a, path);
    if (id->n > 0) {
        return 0;
    }
    if (s->id.n > 0) {
        *id = arena_str(a, s->id);
        return 0;
    }
    *id = uuid_text(a, random_u64(), random_u64(), 4);
    return write_id(path, *id, e);
}
