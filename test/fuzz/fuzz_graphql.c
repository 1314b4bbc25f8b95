/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GraphQL documents. Oracles: a refusal has words and an answer an operation; all names are slices
 * of the input; a document without what is ignored (comments, blanks) means the same; a document
 * that is cut inside its last set is none.
 */
#include "base/arena.h"
#include "fuzz.h"
#include "http/graphql.h"

static bool is_inside(struct str s, struct str all)
{
    return s.n == 0 || (s.p >= all.p && s.p + s.n <= all.p + all.n);
}

static void answer_check(struct str all, const struct graphql *g)
{
    ORACLE(str_eq(g->operation, STR("query")) || str_eq(g->operation, STR("mutation")) ||
           str_eq(g->operation, STR("subscription")));
    ORACLE(is_inside(g->name, all));
    for (size_t i = 0; i < g->n_fields; i++) {
        ORACLE(g->fields[i].n > 0 && is_inside(g->fields[i], all));
    }
}

/* The same with a comment before and behind. */
static void ignored_check(struct arena *a, struct str all, const struct graphql *g)
{
    struct graphql again;
    struct err e = {.msg = ""};
    const struct str wide = arena_cat(a, STR("# {\n"), arena_cat(a, all, STR(" ,\n#")));

    if (str_starts(all, STR("\xef\xbb\xbf"))) {
        return; /* it is only ignored in front */
    }
    ORACLE(graphql_parse(a, wide, &again, &e) == 0);
    ORACLE(again.n_fields == g->n_fields);
    ORACLE_SAME(again.name, g->name);
}

static void cut_check(struct arena *a, struct str all)
{
    const ptrdiff_t end = str_rindex(all, '}');
    struct graphql cut;
    struct err e = {.msg = ""};

    /* The last one may stand in a comment. */
    if (str_index(all, '#') < 0) {
        ORACLE(graphql_parse(a, str_head(all, (size_t)end), &cut, &e) != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct str all = str_of((const char *)data, size);
    struct arena *a = arena_new(1024);
    struct err e = {.msg = ""};
    struct graphql g;
    const int rc = graphql_parse(a, all, &g, &e);

    ORACLE((rc != 0) == err_is_set(&e));
    if (rc == 0) {
        answer_check(all, &g);
        ignored_check(a, all, &g);
        cut_check(a, all);
    }
    arena_free(a);
    return 0;
}
