/* SPDX-License-Identifier: Apache-2.0 */
/* keys: see keys.h. */
#include "main/keys.h"

#include "base/hash.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define KEY_BYTES 32 /* hexadecimal digits: 128 bits */

static void random_key(char key[KEY_BYTES + 1])
{
    uint8_t random[KEY_BYTES / 2];

    random_bytes(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++) {
        snprintf(key + 2 * i, 3, "%02x", random[i]);
    }
}

static int write_key(const char *path, const char *what, const char *key, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, key, KEY_BYTES) != KEY_BYTES || fsync(fd) != 0) {
        return err_set(e, "cannot write the generated %s to %s: %s", what, path, strerror(errno));
    }
    close(fd);
    LOG(NOTICE, "generated an %s, see %s", what, path);
    return 0;
}

/* The key in data/name, made when there is none. */
static int key_of_file(const char *data, const char *name, const char *what,
                       char key[KEY_BYTES + 1], struct err *e)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", data, name);
    memset(key, 0, KEY_BYTES + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        random_key(key);
        return write_key(path, what, key, e);
    }
    if (fd < 0) {
        return err_set(e, "cannot open %s: %s", path, strerror(errno));
    }
    ssize_t n = read(fd, key, KEY_BYTES);
    close(fd);
    if (n != KEY_BYTES) {
        return err_set(e, "%s does not hold a key of %d characters", path, KEY_BYTES);
    }
    return 0;
}

static int ensure_admin_key(struct settings *s, const char *data, struct err *e)
{
    char key[KEY_BYTES + 1];

    if (s->n_admin_keys > 0 || !s->admin_key_required || s->admin.addr.len == 0) {
        return 0;
    }
    if (key_of_file(data, "admin.key", "admin key", key, e) != 0) {
        return -1;
    }
    struct admin_key *k = ARENA_NEW(s->arena, struct admin_key);
    *k = (struct admin_key){.name = STR("admin"), .key = arena_str(s->arena, str_c(key))};
    s->admin_keys = k;
    s->n_admin_keys = 1;
    return 0;
}

static int ensure_ring_key(struct settings *s, const char *data, struct err *e)
{
    char key[KEY_BYTES + 1];

    if (s->n_keyring > 0) {
        return 0;
    }
    if (key_of_file(data, "encryption.key", "encryption key", key, e) != 0) {
        return -1;
    }
    settings_use_ring_key(s, str_c(key));
    return 0;
}

int keys_ensure(struct settings *s, const char *data, struct err *e)
{
    return ensure_admin_key(s, data, e) != 0 ? -1 : ensure_ring_key(s, data, e);
}
