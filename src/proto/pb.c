/* SPDX-License-Identifier: Apache-2.0 */
/* pb: finds and loads the module; see pb.h. */
#include "proto/pb.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MODULE_FILE "weir_protobuf.so"

static const struct pb_module *module;

/* In $WEIR_MODULES, else beside the program (a build tree), else where it was installed. */
static void find_module(char path[PATH_MAX])
{
    const char *folder = getenv("WEIR_MODULES");
    if (folder) {
        snprintf(path, PATH_MAX, "%s/" MODULE_FILE, folder);
        return;
    }
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - sizeof(MODULE_FILE));
    while (n > 0 && path[n - 1] != '/') {
        n--;
    }
    snprintf(path + (n > 0 ? n : 0), sizeof(MODULE_FILE), MODULE_FILE);
    if (access(path, F_OK) != 0) {
        snprintf(path, PATH_MAX, WEIR_MODULE_DIR "/" MODULE_FILE);
    }
}

static void *open_module(struct err *e)
{
    char path[PATH_MAX];
    find_module(path);
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL) {
        err_set(e, "the module for protobuf cannot be loaded: %s", dlerror());
    }
    return lib;
}

int pb_load(struct err *e)
{
    if (module) {
        return 0;
    }
    void *lib = open_module(e);
    if (lib == NULL) {
        return -1;
    }
    const struct pb_module *m = dlsym(lib, PB_MODULE_SYMBOL);
    if (m == NULL || m->abi != PB_MODULE_ABI) {
        dlclose(lib);
        return err_set(e, "the module for protobuf (%s) is of another version", MODULE_FILE);
    }
    module = m;
    return 0;
}

struct pb_schema *pb_schema_new(struct str content, struct err *e)
{
    struct pb_error why = {""};
    if (pb_load(e) < 0) {
        return NULL;
    }
    struct pb_schema *s = module->schema_new(content.p, content.n, &why);
    if (s == NULL) {
        err_set(e, "%s", why.text);
    }
    return s;
}

void pb_schema_free(struct pb_schema *s)
{
    if (s) {
        module->schema_free(s);
    }
}

const struct pb_method *pb_method_find(const struct pb_schema *s, const char *service,
                                       const char *method)
{
    return module->method_find(s, service, method);
}

const struct pb_type *pb_type_find(const struct pb_schema *s, const char *name)
{
    return module->type_find(s, name);
}

/* ---- results in an arena ---- */

struct room {
    struct arena *a;
    size_t before;
};

static char *take_room(void *arg, size_t n)
{
    const struct room *r = arg;
    return arena_bytes(r->a, r->before + n) + r->before;
}

static struct str result(int rc, const struct pb_out *out, const struct pb_error *why,
                         struct err *e)
{
    if (rc < 0) {
        err_set(e, "%s", why->text);
        return STR_NONE;
    }
    const struct room *r = out->arg;
    return str_of(out->p - r->before, r->before + out->n);
}

struct str pb_encode(struct arena *a, const struct pb_type *t, const json_t *value, size_t before,
                     struct err *e)
{
    struct pb_error why = {""};
    struct room r = {a, before};
    struct pb_out out = {.room = take_room, .arg = &r};
    return result(module->encode(t, value, &out, &why), &out, &why, e);
}

struct str pb_decode(struct arena *a, const struct pb_type *t, struct str message,
                     const struct pb_format *f, struct err *e)
{
    struct pb_error why = {""};
    struct room r = {a, 0};
    struct pb_out out = {.room = take_room, .arg = &r};
    return result(module->decode(t, message.p, message.n, f, &out, &why), &out, &why, e);
}

struct str pb_decode_status(struct arena *a, const struct pb_type *t, struct str message,
                            const struct pb_format *f, struct err *e)
{
    struct pb_error why = {""};
    struct room r = {a, 0};
    struct pb_out out = {.room = take_room, .arg = &r};
    return result(module->decode_status(t, message.p, message.n, f, &out, &why), &out, &why, e);
}
