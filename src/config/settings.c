/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings: config.yaml from text to struct: YAML, variables of the environment, names (an unknown
 * one is an error that offers the nearest), defaults, values.
 */
#include "config/settings.h"

#include "base/buf.h"
#include "config/settings_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FILE_MAX = 4 << 20, PATH_MAX_BYTES = 512 };

/* ---- for the readers ---- */

/* The value at a dotted path; names of sections have no dots. */
static json_t *value_at(json_t *v, const char *path)
{
    struct str rest = str_c(path), part;

    while (v != NULL && str_split(&rest, '.', &part)) {
        v = json_object_getn(v, part.p, part.n);
    }
    return json_is_null(v) ? NULL : v;
}

const json_t *reader_get(const struct reader *r, const char *path)
{
    return value_at(r->s->json, path);
}

void reader_warn(const struct reader *r, const char *fmt, ...)
{
    char line[1024];
    va_list ap;

    if (r->warn != NULL) {
        va_start(ap, fmt);
        vsnprintf(line, sizeof(line), fmt, ap);
        va_end(ap);
        r->warn(line);
    }
}

int reader_bad(const struct reader *r, const char *path, const char *what, const json_t *got)
{
    struct str text = got != NULL ? json_text(r->s->arena, got) : STR("nothing");
    const bool is_long = text.n > 60;

    return err_set(r->e, "%s: expected %s, got %.*s%s", path, what, STR_ARG(str_head(text, 60)),
                   is_long ? "..." : "");
}

/* ---- names ---- */

/* The option at path; *is_section: path leads to options. */
static const struct option *option_at(struct str path, bool *is_section)
{
    const struct option *here = NULL;

    *is_section = false;
    for (size_t i = 0; i < settings_n_options; i++) {
        const struct str name = str_c(settings_options[i].path);

        if (str_eq(name, path)) {
            here = &settings_options[i];
        } else if (str_starts(name, path) && name.p[path.n] == '.') {
            *is_section = true;
        }
    }
    return here;
}

/* Edits (insert, delete, replace) from a to b, counted up to what a row of this length can hold. */
static unsigned distance(struct str a, struct str b)
{
    enum { LONGEST = 64 };
    unsigned row[LONGEST + 1];

    if (a.n > LONGEST || b.n > LONGEST) {
        return LONGEST;
    }
    for (unsigned k = 0; k <= b.n; k++) {
        row[k] = k;
    }
    for (unsigned i = 1; i <= a.n; i++) {
        unsigned diagonal = row[0];

        row[0] = i;
        for (unsigned k = 1; k <= b.n; k++) {
            const unsigned replaced = diagonal + (a.p[i - 1] != b.p[k - 1]), shorter = row[k] + 1,
                           longer = row[k - 1] + 1;

            diagonal = row[k];
            row[k] = replaced < shorter ? replaced : shorter;
            row[k] = row[k] < longer ? row[k] : longer;
        }
    }
    return row[b.n];
}

/* The part of an option's path that stands where the last part of path does; STR_NONE when it is in
 * another section. */
static struct str sibling(const struct option *o, struct str path)
{
    const struct str section = str_head(path, (size_t)(str_rindex(path, '.') + 1));
    struct str rest = str_skip(str_c(o->path), section.n), part;

    return str_starts(str_c(o->path), section) && str_split(&rest, '.', &part) ? part : STR_NONE;
}

/* What the author of path may have meant: a name like it in the same section, else the same name
 * elsewhere. */
static bool nearest(struct str path, char out[PATH_MAX_BYTES])
{
    const struct str last = str_skip(path, (size_t)(str_rindex(path, '.') + 1));
    unsigned best = 2 + (unsigned)last.n / 4;
    bool found = false;

    for (size_t i = 0; i < settings_n_options; i++) {
        const struct str name = sibling(&settings_options[i], path);
        const unsigned d = str_is_none(name) ? best : distance(last, name);

        if (d < best) {
            best = d;
            found = true;
            snprintf(out, PATH_MAX_BYTES, "%.*s%.*s", (int)(path.n - last.n), path.p,
                     STR_ARG(name));
        }
    }
    for (size_t i = 0; i < settings_n_options && !found; i++) {
        const struct str name = str_c(settings_options[i].path);

        if (str_eq(str_skip(name, (size_t)(str_rindex(name, '.') + 1)), last)) {
            found = true;
            snprintf(out, PATH_MAX_BYTES, "%.*s", STR_ARG(name));
        }
    }
    return found;
}

static int unknown(const struct reader *r, struct str path)
{
    char meant[PATH_MAX_BYTES];

    if (nearest(path, meant)) {
        return err_set(r->e, "unknown option %.*s; did you mean %s?", STR_ARG(path), meant);
    }
    return err_set(r->e, "unknown option %.*s", STR_ARG(path));
}

/* A value that leaves a feature off, which is what happens anyway. */
static bool is_off(const json_t *v)
{
    return json_is_null(v) || json_is_false(v) ||
           (json_is_string(v) && json_string_length(v) == 0) ||
           (json_is_object(v) && json_object_size(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0);
}

static int check_names(const struct reader *r, const json_t *section, struct str prefix);

static int check_name(const struct reader *r, struct str path, const json_t *v)
{
    bool is_section;
    const struct option *o = option_at(path, &is_section);

    if (o == NULL && !is_section) {
        return unknown(r, path);
    }
    if (o == NULL) {
        if (!json_is_object(v) && !is_off(v)) {
            return reader_bad(r, path.p, "a section", v);
        }
        return check_names(r, v, path);
    }
    if (o->kind == OPT_TREE && !json_is_object(v) && !is_off(v)) {
        return reader_bad(r, o->path, "a section", v);
    }
    if (o->kind == OPT_WARN && !is_off(v)) {
        reader_warn(r, "%s: %s", o->path, o->note);
    }
    if (o->kind == OPT_REFUSE && !is_off(v)) {
        return err_set(r->e, "%s: %s", o->path, o->note);
    }
    return 0;
}

static int check_names(const struct reader *r, const json_t *section, struct str prefix)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)section, key, v) {
        char path[PATH_MAX_BYTES];
        const int n =
            snprintf(path, sizeof(path), "%.*s%s%s", STR_ARG(prefix), prefix.n > 0 ? "." : "", key);

        if (n >= (int)sizeof(path)) {
            return err_set(r->e, "unknown option %.60s...", path);
        }
        if (check_name(r, str_of(path, (size_t)n), v) != 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- defaults ---- */

/* Put v, whose reference it takes, at a dotted path, making sections on the way. */
static void put_at(json_t *root, const char *path, json_t *v)
{
    struct str rest = str_c(path), part;

    while (str_split(&rest, '.', &part)) {
        json_t *next = json_object_getn(root, part.p, part.n);

        if (str_is_none(rest)) {
            json_object_setn_new(root, part.p, part.n, v);
            return;
        }
        if (!json_is_object(next)) {
            next = json_object();
            json_object_setn_new(root, part.p, part.n, next);
        }
        root = next;
    }
}

/* The keys of from that v does not have, in sections too; a null takes a default away. */
static void merge_defaults(json_t *v, const json_t *from)
{
    const char *key;
    json_t *def;

    json_object_foreach((json_t *)from, key, def) {
        json_t *own = json_get(v, key);

        if (own == NULL) {
            json_object_set_new(v, key, json_deep_copy(def));
        } else if (json_is_object(own)) {
            merge_defaults(own, def);
        }
    }
}

/* An explicit null of a list means that there is none; of anything else that the author left it
 * out. */
static bool is_taken_away(json_t *root, const struct option *o)
{
    struct str rest = str_c(o->path), part;
    json_t *v = root;

    while (v != NULL && str_split(&rest, '.', &part)) {
        v = json_object_getn(v, part.p, part.n);
    }
    return o->kind == OPT_CIDRS && v != NULL && json_is_null(v);
}

static void fill_default(json_t *root, const struct option *o)
{
    json_t *v = value_at(root, o->path);

    if (o->def == NULL || is_taken_away(root, o)) {
        return;
    }
    if (v == NULL) {
        put_at(root, o->path, json_loads(o->def, JSON_DECODE_ANY, NULL));
    } else if (o->kind == OPT_TREE) {
        json_t *def = json_loads(o->def, 0, NULL);

        merge_defaults(v, def);
        json_decref(def);
    }
}

/* ---- values ---- */

/* A member that was found by its offset. */
#define MEMBER(r, o, type) ((type *)(void *)((char *)(r)->s + (o)->offset))
#define COUNT(r, o) ((unsigned *)(void *)((char *)(r)->s + (o)->count))

static int in_limits(const struct reader *r, const struct option *o, const json_t *v, int64_t n)
{
    char what[96];

    if (o->max == 0 || (n >= o->min && n <= o->max)) {
        return 0;
    }
    snprintf(what, sizeof(what), "%lld to %lld%s", (long long)o->min, (long long)o->max,
             o->kind == OPT_MS ? " milliseconds" : "");
    return reader_bad(r, o->path, what, v);
}

static int read_number(const struct reader *r, const struct option *o, const json_t *v)
{
    int64_t n;

    switch (o->kind) {
    case OPT_MS:
        if (!parse_time(v, &n)) {
            return reader_bad(r, o->path, "a time (60s, 10m, 500ms, or seconds)", v);
        }
        break;
    case OPT_SIZE:
        if (!parse_size(v, &n)) {
            return reader_bad(r, o->path, "a size (16k, 50m, or bytes)", v);
        }
        break;
    default:
        if (!parse_integer(v, &n)) {
            return reader_bad(r, o->path, "a whole number", v);
        }
    }
    if (in_limits(r, o, v, n) != 0) {
        return -1;
    }
    if (o->offset != NO_MEMBER && o->kind == OPT_UINT) {
        *MEMBER(r, o, unsigned) = (unsigned)n;
    } else if (o->offset != NO_MEMBER) {
        *MEMBER(r, o, int64_t) = n;
    }
    return 0;
}

static int read_switch(const struct reader *r, const struct option *o, const json_t *v)
{
    bool on;

    if (!parse_bool(v, &on)) {
        return reader_bad(r, o->path, "true or false", v);
    }
    if (o->offset != NO_MEMBER) {
        *MEMBER(r, o, bool) = on;
    }
    return 0;
}

static int check_choice(const struct reader *r, const struct option *o, const json_t *v)
{
    char all[256] = "";
    size_t n = 0;

    for (const char *const *c = o->choices; *c != NULL; c++) {
        if (str_eq(json_str(v), str_c(*c))) {
            return 0;
        }
        n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s", n > 0 ? " or " : "", *c);
    }
    reader_bad(r, o->path, all, v);
    if (o->note != NULL) {
        const struct err bad = *r->e;

        r->e->msg[0] = 0;
        err_set(r->e, "%s; %s", bad.msg, o->note);
    }
    return -1;
}

static int read_text(const struct reader *r, const struct option *o, const json_t *v)
{
    if (!json_is_string(v) && !json_is_integer(v)) {
        return reader_bad(r, o->path, "text", v);
    }
    if (o->choices != NULL && check_choice(r, o, v) != 0) {
        return -1;
    }
    if (o->offset != NO_MEMBER) {
        *MEMBER(r, o, struct str) =
            arena_str(r->s->arena, json_is_string(v) ? json_str(v) : json_text(r->s->arena, v));
    }
    return 0;
}

static int read_cidrs(const struct reader *r, const struct option *o, const json_t *list)
{
    struct cidr *blocks = ARENA_ARRAY(r->s->arena, struct cidr, json_array_size(list) + 1);
    const json_t *v;
    size_t i;

    if (!json_is_array(list) && !is_off(list)) {
        return reader_bad(r, o->path, "a list of addresses", list);
    }
    json_array_foreach(list, i, v) {
        if (!json_is_string(v) || !cidr_parse(json_str(v), &blocks[i])) {
            return reader_bad(r, o->path, "addresses or blocks", v);
        }
    }
    *MEMBER(r, o, const struct cidr *) = blocks;
    *COUNT(r, o) = (unsigned)json_array_size(list);
    return 0;
}

static int read_texts(const struct reader *r, const struct option *o, const json_t *list)
{
    struct str *texts = ARENA_ARRAY(r->s->arena, struct str, json_array_size(list) + 1);
    const json_t *v;
    size_t i;

    if (!json_is_array(list) && !is_off(list)) {
        return reader_bad(r, o->path, "a list", list);
    }
    json_array_foreach(list, i, v) {
        if (!json_is_string(v)) {
            return reader_bad(r, o->path, "text", v);
        }
        texts[i] = json_str(v);
    }
    *MEMBER(r, o, const struct str *) = texts;
    *COUNT(r, o) = (unsigned)json_array_size(list);
    return 0;
}

static int read_option(const struct reader *r, const struct option *o)
{
    const json_t *v = reader_get(r, o->path);

    if (v == NULL) {
        return 0;
    }
    switch (o->kind) {
    case OPT_BOOL:
        return read_switch(r, o, v);
    case OPT_INT:
    case OPT_UINT:
    case OPT_MS:
    case OPT_SIZE:
        return read_number(r, o, v);
    case OPT_STR:
        return read_text(r, o, v);
    case OPT_CIDRS:
        return read_cidrs(r, o, v);
    case OPT_STRS:
        return read_texts(r, o, v);
    case OPT_TREE:
    case OPT_ANY:
    case OPT_WARN:
    case OPT_REFUSE:
        break;
    }
    return 0;
}

static int read_all(const struct reader *r)
{
    if (check_names(r, r->s->json, STR("")) != 0) {
        return -1;
    }
    for (size_t i = 0; i < settings_n_options; i++) {
        fill_default(r->s->json, &settings_options[i]);
    }
    for (size_t i = 0; i < settings_n_options; i++) {
        if (read_option(r, &settings_options[i]) != 0) {
            return -1;
        }
    }
    return settings_read_rest(r) != 0 || settings_read_listeners(r) != 0 ? -1 : 0;
}

/* ---- the whole file ---- */

/* The file as an object with variables replaced; an empty file has none of its own. */
static json_t *parse_file(struct str yaml, struct err *e)
{
    json_t *v = yaml_parse(yaml, e);

    if (v != NULL) {
        v = env_substitute(v, e);
    }
    if (v != NULL && json_is_null(v)) {
        v = json_object();
    }
    if (v != NULL && !json_is_object(v)) {
        err_set(e, "expected sections such as apisix: at the top");
        json_decref(v);
        v = NULL;
    }
    return v;
}

struct settings *settings_parse(struct str yaml, void (*warn)(const char *line), struct err *e)
{
    struct arena *a = arena_new(16384);
    struct settings *s = ARENA_NEW(a, struct settings);
    struct reader r = {.s = s, .warn = warn, .e = e};

    s->arena = a;
    s->holds = 1;
    s->json = parse_file(yaml, e);
    if (s->json == NULL || read_all(&r) != 0) {
        settings_free(s);
        return NULL;
    }
    return s;
}

static int read_file(const char *path, struct buf *b, struct err *e)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;

    if (fd < 0) {
        return err_set(e, "%s: %s", path, strerror(errno));
    }
    for (;;) {
        char *room = buf_reserve(b, 65536);

        n = room != NULL ? read(fd, room, 65536) : -1;
        if (n <= 0) {
            break;
        }
        b->n += (size_t)n;
    }
    if (n < 0) {
        err_set(e, "%s: %s", path, b->overflow ? "larger than 4 MB" : strerror(errno));
    }
    close(fd);
    return n < 0 ? -1 : 0;
}

struct settings *settings_load(const char *path, void (*warn)(const char *line), struct err *e)
{
    struct buf b = BUF_INIT(FILE_MAX);
    struct settings *s = NULL;

    if (read_file(path, &b, e) == 0) {
        s = settings_parse(buf_str(&b), warn, e);
        if (s == NULL) {
            err_prefix(e, "%s: ", path);
        }
    }
    buf_fini(&b);
    return s;
}

void settings_free(struct settings *s)
{
    if (s != NULL) {
        json_decref(s->json);
        arena_free(s->arena);
    }
}

const struct settings *settings_hold(const struct settings *s)
{
    ((struct settings *)(uintptr_t)s)->holds++;
    return s;
}

void settings_drop(const struct settings *s)
{
    struct settings *mine = (struct settings *)(uintptr_t)s;

    if (mine != NULL && --mine->holds == 0) {
        settings_free(mine);
    }
}

const json_t *settings_plugin_attr(const struct settings *s, const char *plugin)
{
    return json_get(json_get(s->json, "plugin_attr"), plugin);
}
