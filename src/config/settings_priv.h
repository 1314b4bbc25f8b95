/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * settings_priv: the parts settings are read with. The table of options is the only list of what
 * config.yaml may hold: it knows defaults, limits, and what is not supported.
 */
#include "config/settings.h"

/* ---- text to JSON ---- */
/* A YAML document (1.2 core schema) as JSON, a new reference; an empty one is null. Bounded in
 * depth and size, aliases counted each time they are used; duplicate keys, several documents and
 * unknown tags are errors ("line N: ..."). */
json_t *yaml_parse(struct str text, struct err *e);
/* v with ${{VAR}} and ${{VAR:=default}} replaced in its strings and keys; takes the reference of v
 * and returns one. NULL with e set. */
json_t *env_substitute(json_t *v, struct err *e);

/* ---- values ---- */
/* "60s", "10m", "1h30m", "500ms", a number of seconds; in milliseconds. */
bool parse_time(const json_t *v, int64_t *ms);
/* "50m", "16k", "1g", a number of bytes. */
bool parse_size(const json_t *v, int64_t *bytes);
/* true, false, and the words on, off, yes, no. */
bool parse_bool(const json_t *v, bool *out);
/* An integer, or its text. */
bool parse_integer(const json_t *v, int64_t *out);
/* The CPUs this process may use: its affinity, bounded by the CPU quota of its control group. At
 * least 1. */
unsigned cpus_usable(void);

/* ---- options ---- */
enum option_kind {
    OPT_BOOL,   /* bool */
    OPT_INT,    /* int64_t */
    OPT_UINT,   /* unsigned */
    OPT_MS,     /* int64_t, a time */
    OPT_SIZE,   /* int64_t or uint64_t, a size */
    OPT_STR,    /* struct str */
    OPT_CIDRS,  /* pointer and count, see offset and count */
    OPT_STRS,   /* the same of struct str */
    OPT_ANY,    /* read by hand */
    OPT_TREE,   /* a section with any keys, merged over the default */
    OPT_WARN,   /* known, does nothing here: note says why */
    OPT_REFUSE, /* known, and doing without it would be dangerous: note says why */
};
/* An option without a member is checked and kept in settings.json only. */
#define NO_MEMBER SIZE_MAX

struct option {
    const char *path;
    enum option_kind kind;
    size_t offset, count; /* members of struct settings, NO_MEMBER; count: of the number of items */
    const char *def;      /* JSON text; NULL: none */
    int64_t min, max;     /* OPT_INT, OPT_UINT, OPT_MS, OPT_SIZE; max 0: no limits */
    const char *const *choices; /* OPT_STR; NULL: any */
    const char *note;           /* OPT_WARN, OPT_REFUSE, and beside choices */
};
extern const struct option settings_options[];
extern const size_t settings_n_options;

/* ---- reading ---- */
struct reader {
    struct settings *s;
    void (*warn)(const char *line); /* may be NULL */
    struct err *e;
};
/* The value at a dotted path of the merged file, NULL when absent or null. */
const json_t *reader_get(const struct reader *r, const char *path);
void reader_warn(const struct reader *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* `PATH: expected WHAT, got VALUE`; -1. */
int reader_bad(const struct reader *r, const char *path, const char *what, const json_t *got);
/* All that is more than one value in one member, once the simple ones are read. 0 or -1 with e set.
 */
int settings_read_listeners(const struct reader *r);
int settings_read_rest(const struct reader *r);
