/* SPDX-License-Identifier: Apache-2.0 */
/* The embedded store: revisions, conditions, commits shared by many writers, history, a full disk,
 * damage. */
#include "t.h"

#include "base/assert.h"
#include "event/await.h"
#include "fiber/fiber.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], file[80];
static struct store *store;
static struct arena *arena;
static unsigned running;

static void remove_files(void)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".new"};
    char path[128];

    for (size_t i = 0; i < LENGTH_OF(ends); i++) {
        snprintf(path, sizeof(path), "%s%s", file, ends[i]);
        unlink(path);
    }
    rmdir(dir);
}

static void dir_make(void)
{
    snprintf(dir, sizeof(dir), "/tmp/weir-store-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    snprintf(file, sizeof(file), "%s/weir.db", dir);
}

static void open_store(void)
{
    struct err e = {0};

    store = store_open_embedded(dir, &e);
    if (!store) {
        printf("# %s\n", e.msg);
        exit(1);
    }
}

static void fiber_body(void *arg)
{
    void (*fn)(void) = *(void (**)(void))arg;

    fn();
    if (--running == 0) {
        loop_stop(loop_self());
    }
}

/* Run the functions in fibers that start together, until all have ended. */
static void run_fibers(void (**fns)(void), unsigned n)
{
    ASSERT(loop_init() == 0);
    ASSERT(offload_init(2) == 0);
    running = n;
    for (unsigned i = 0; i < n; i++) {
        ASSERT(fiber_start("test", fiber_body, &fns[i]) != NULL);
    }
    if (running > 0) {
        loop_run();
    }
    offload_fini();
    loop_fini();
    fiber_thread_fini();
}

/* A test body in a fiber with a fresh store. */
static void with_store(void (*fn)(void))
{
    arena = arena_new(4096);
    dir_make();
    open_store();
    run_fibers(&fn, 1);
    store->ops->close(store);
    remove_files();
    arena_free(arena);
}

static int put_if(const char *key, const char *value, int64_t if_modified, int64_t *revision)
{
    struct err e = {0};
    struct store_write w = {
        .key = str_c(key), .value = value ? str_c(value) : STR_NONE, .if_modified = if_modified};
    int rc = store->ops->await_write(store, &w, 1, STR("tester"), revision, &e);

    CHECK((rc == 0 || rc == -EAGAIN) == !err_is_set(&e));
    return rc;
}

static int64_t put(const char *key, const char *value)
{
    int64_t revision = 0;

    CHECK(put_if(key, value, -1, &revision) == 0);
    return revision;
}

static struct store_item get(const char *key)
{
    struct store_item it = {0};
    struct err e = {0};
    int rc = store->ops->await_get(store, str_c(key), arena, &it, &e);

    CHECK(rc == (it.modified ? 0 : -ENOENT));
    return it;
}

/* ---- tests ---- */

static void revisions_body(void)
{
    CHECK(put("/routes/1", "{\"a\":1}") == 1);
    CHECK(put("/routes/2", "{}") == 2);
    CHECK(put("/routes/1", "{\"a\":2}") == 3);
    struct store_item it = get("/routes/1");
    CHECK_STR(it.value, "{\"a\":2}");
    CHECK(it.created == 1 && it.modified == 3 && it.version == 2 && it.expires_at == 0);
    CHECK(store->revision == 3);
    CHECK(put("/routes/1", NULL) == 4);
    CHECK(get("/routes/1").modified == 0);
    CHECK(put("/routes/1", "{}") == 5);
    it = get("/routes/1");
    CHECK(it.created == 5 && it.version == 1);
}

static void every_write_is_a_revision(void)
{
    with_store(revisions_body);
}

static void conditions_body(void)
{
    int64_t revision = 0;

    CHECK(put_if("/k", "a", 0, &revision) == 0 && revision == 1);
    CHECK(put_if("/k", "b", 0, &revision) == -EAGAIN);
    CHECK(put_if("/k", "b", 7, &revision) == -EAGAIN);
    CHECK_STR(get("/k").value, "a");
    CHECK(put_if("/k", "b", 1, &revision) == 0 && revision == 2);
    CHECK(put_if("/k", NULL, 1, &revision) == -EAGAIN);
    CHECK(put_if("/k", NULL, 2, &revision) == 0 && revision == 3);
    CHECK(put_if("/k", NULL, -1, &revision) == 0);
    CHECK(get("/k").modified == 0);
}

static void a_write_happens_only_under_its_condition(void)
{
    with_store(conditions_body);
}

static void steps_body(void)
{
    struct err e = {0};
    int64_t revision = 0;
    struct store_write w[] = {
        {.key = STR("/consumers/a"), .value = STR_NONE, .if_modified = -1},
        {.key = STR("/consumers/a/credentials/1"), .value = STR_NONE, .if_modified = -1},
        {.key = STR("/consumers/b"), .value = STR("{}"), .if_modified = 0},
    };

    put("/consumers/a", "{}");
    put("/consumers/a/credentials/1", "{}");
    CHECK(store->ops->await_write(store, w, 3, STR("x"), &revision, &e) == 0);
    CHECK(revision == 3);
    CHECK(get("/consumers/a").modified == 0);
    CHECK(get("/consumers/b").modified == 3);
    /* The third condition fails: nothing of it happens. */
    w[0].value = STR("{\"new\":1}");
    CHECK(store->ops->await_write(store, w, 3, STR("x"), &revision, &e) == -EAGAIN);
    CHECK(get("/consumers/a").modified == 0);
    CHECK(store->revision == 3);
}

static void steps_of_one_write_share_a_revision_and_a_fate(void)
{
    with_store(steps_body);
}

static void list_body(void)
{
    static const struct {
        const char *prefix;
        size_t n;
        const char *first;
    } cases[] = {
        {"/routes/", 3, "/routes/1"},
        {"/routes/1", 2, "/routes/1"},
        {"/route", 4, "/route_configs/1"},
        {"", 5, "/consumers/jack"},
        {"/none/", 0, ""},
    };

    put("/routes/2", "{}");
    put("/routes/10", "{}");
    put("/routes/1", "{}");
    put("/route_configs/1", "{}");
    put("/consumers/jack", "{}");
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct store_item *items;
        struct err e = {0};
        size_t n = 99;
        CHECK_ROW(i, store->ops->await_list(store, str_c(cases[i].prefix), arena, &items, &n, &e) ==
                         0);
        CHECK_ROW(i, n == cases[i].n);
        CHECK_ROW(i, n == 0 || str_eq(items[0].key, str_c(cases[i].first)));
    }
}

static void a_list_is_in_key_order_and_of_one_prefix(void)
{
    with_store(list_body);
}

static void history_body(void)
{
    struct store_revision *h;
    struct err e = {0};
    size_t n = 0;

    put("/routes/1", "a");
    put("/routes/2", "x");
    put("/routes/1", "b");
    put("/routes/1", NULL);
    CHECK(store_await_history(store, STR("/routes/1"), 10, arena, &h, &n, &e) == 0);
    CHECK(n == 3);
    CHECK(h[0].revision == 4 && str_is_none(h[0].after));
    CHECK_STR(h[0].before, "b");
    CHECK_STR(h[1].before, "a");
    CHECK_STR(h[1].after, "b");
    CHECK_STR(h[1].author, "tester");
    CHECK(str_is_none(h[2].before) && h[2].revision == 1);
    CHECK(h[2].at > 1600000000);
    CHECK(store_await_history(store, STR_NONE, 2, arena, &h, &n, &e) == 0);
    CHECK(n == 2 && h[0].revision == 4 && h[1].revision == 3);
}

static void history_knows_who_wrote_what_over_what(void)
{
    with_store(history_body);
}

/* ---- many writers ---- */

enum { WRITERS = 40, WRITES = 25 };
static unsigned writer_next;
static bool revision_seen[WRITERS * WRITES * 2 + 2];
static int counter_wins;

static void writer_body(void)
{
    unsigned me = writer_next++;
    char key[32], value[32];

    for (int i = 0; i < WRITES; i++) {
        snprintf(key, sizeof(key), "/w/%u-%d", me, i);
        snprintf(value, sizeof(value), "%d", i);
        int64_t revision = put(key, value);
        CHECK(revision > 0 && revision < (int64_t)LENGTH_OF(revision_seen) &&
              !revision_seen[revision]);
        revision_seen[revision] = true;
        /* All race for the same key: of those that saw one revision only one may win. */
        struct store_item it = get("/race");
        int rc = put_if("/race", value, it.modified, &revision);
        CHECK(rc == 0 || rc == -EAGAIN);
        counter_wins += rc == 0;
    }
}

static void writers_that_meet_keep_their_own_revisions_and_conditions(void)
{
    void (*fns[WRITERS])(void);
    struct store_item *items;
    struct err e = {0};
    size_t n;
    int64_t revision;

    for (unsigned i = 0; i < WRITERS; i++) {
        fns[i] = writer_body;
    }
    arena = arena_new(4096);
    dir_make();
    open_store();
    run_fibers(fns, WRITERS);
    store->ops->close(store);
    /* What was acknowledged is there after opening again. */
    open_store();
    CHECK(store->ops->load(store, arena, &items, &n, &revision, &e) == 0);
    CHECK(n == WRITERS * WRITES + 1);
    CHECK(revision == WRITERS * WRITES + counter_wins);
    CHECK(str_eq(items[0].key, STR("/race")) && items[0].version == counter_wins);
    store->ops->close(store);
    remove_files();
    arena_free(arena);
}

static struct fiber *victim;
static int victim_rc = 1;

static void victim_body(void)
{
    int64_t revision;

    victim = fiber_self();
    victim_rc = put_if("/victim", "1", -1, &revision);
    CHECK(fiber_must_end());
}

static void killer_body(void)
{
    fiber_cancel(victim);
    /* One that comes later still gets its turn. */
    put("/later", "1");
    CHECK(victim_rc == 0);
    CHECK(get("/victim").modified > 0);
}

static void a_cancelled_writer_learns_the_outcome_all_the_same(void)
{
    void (*fns[])(void) = {victim_body, killer_body};

    arena = arena_new(4096);
    dir_make();
    open_store();
    run_fibers(fns, 2);
    store->ops->close(store);
    remove_files();
    arena_free(arena);
}

/* ---- a full disk: the limit on file sizes fails like one, with EFBIG instead of ENOSPC ---- */

static void full_body(void)
{
    struct rlimit before, small = {0};
    static char big[3 << 20];
    struct store_write w = {.key = STR("/big"), .if_modified = -1};
    struct err e = {0};
    int64_t revision = 0;

    put("/small", "1");
    memset(big, 'x', sizeof(big));
    w.value = str_of(big, sizeof(big));
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_FSIZE, &small);
    int rc = store->ops->await_write(store, &w, 1, STR("x"), &revision, &e);
    setrlimit(RLIMIT_FSIZE, &before);
    CHECK(rc == -EIO || rc == -ENOSPC);
    CHECK(err_is_set(&e));
    CHECK(store->revision == 1);
    CHECK(get("/big").modified == 0);
    CHECK_STR(get("/small").value, "1");
    /* Space is back: on without a restart. */
    CHECK(put("/small", "2") == 2);
    e = (struct err){0};
    CHECK(store->ops->await_write(store, &w, 1, STR("x"), &revision, &e) == 0 && revision == 3);
}

static void a_write_that_finds_no_room_changes_nothing(void)
{
    signal(SIGXFSZ, SIG_IGN);
    with_store(full_body);
}

static void neighbours_body(void)
{
    put("/first", "1");
}

static void the_file_is_for_its_owner_only(void)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    void (*fn)(void) = neighbours_body;
    struct stat st;
    char path[128];

    dir_make();
    open_store();
    run_fibers(&fn, 1);
    for (size_t i = 0; i < LENGTH_OF(ends); i++) {
        snprintf(path, sizeof(path), "%s%s", file, ends[i]);
        CHECK_ROW(i, stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    }
    store->ops->close(store);
    remove_files();
}

/* ---- damage ---- */

enum { ITEMS = 60 };

static void fill_body(void)
{
    char key[32], value[200];

    for (int i = 0; i < ITEMS; i++) {
        snprintf(key, sizeof(key), "/routes/%d", i);
        snprintf(value, sizeof(value), "{\"uri\":\"/path/%d\",\"pad\":\"%0100d\"}", i, i);
        put(key, value);
    }
}

/* Open and read all. True when refused with words that name the file, or read without a wrong
 * value. */
static bool refused_or_right(bool *refused)
{
    struct err e = {0};
    struct arena *a = arena_new(65536);
    struct store_item *items;
    char want[200];
    size_t n = 0;
    int64_t revision;
    bool right = true;
    struct store *s = store_open_embedded(dir, &e);

    *refused = !s || s->ops->load(s, a, &items, &n, &revision, &e) != 0;
    if (*refused) {
        right = strstr(e.msg, file) != NULL;
    } else {
        right = n == ITEMS && revision == ITEMS;
    }
    for (size_t i = 0; !*refused && i < n; i++) {
        int number = atoi(items[i].key.p + strlen("/routes/"));
        snprintf(want, sizeof(want), "{\"uri\":\"/path/%d\",\"pad\":\"%0100d\"}", number, number);
        right &= str_eq(items[i].value, str_c(want));
    }
    if (s) {
        s->ops->close(s);
    }
    arena_free(a);
    return right;
}

static void write_file(const char *bytes, size_t n)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    ASSERT(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
}

/* A full store as bytes; the folder is empty afterwards. */
static size_t good_file(char *bytes, size_t room)
{
    void (*fn)(void) = fill_body;

    dir_make();
    open_store();
    run_fibers(&fn, 1);
    store->ops->close(store);
    int fd = open(file, O_RDONLY);
    ssize_t n = read(fd, bytes, room);
    close(fd);
    ASSERT(n > 0 && (size_t)n < room);
    return (size_t)n;
}

static void damage_is_refused_by_name_and_never_read_as_something_else(void)
{
    static char good[1 << 20], bad[1 << 20];
    size_t n = good_file(good, sizeof(good)), refusals = 0, wrong = 0;
    bool refused;
    /* A stride that meets every kind of byte; WEIR_FLIP_STRIDE=1 flips them all. */
    const char *env = getenv("WEIR_FLIP_STRIDE");
    size_t stride = env ? (size_t)atoi(env) : 61;

    for (size_t i = 0; i < n; i += stride) {
        memcpy(bad, good, n);
        bad[i] = (char)(bad[i] ^ (1 << (i % 8)));
        write_file(bad, n);
        if (!refused_or_right(&refused)) {
            printf("# byte %zu\n", i);
            wrong++;
        }
        refusals += refused;
    }
    CHECK(wrong == 0);
    CHECK(refusals > 0);
    for (size_t len = 0; len < n; len += stride * 8) {
        write_file(good, len);
        CHECK_ROW(len, refused_or_right(&refused) && refused);
    }
    write_file(good, n);
    CHECK(refused_or_right(&refused) && !refused);
    remove_files();
}

static void a_file_of_another_program_is_refused(void)
{
    struct err e = {0};
    sqlite3 *h;

    dir_make();
    CHECK(sqlite3_open(file, &h) == SQLITE_OK);
    CHECK(sqlite3_exec(h, "CREATE TABLE t (x)", NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(h);
    CHECK(store_open_embedded(dir, &e) == NULL);
    CHECK(strstr(e.msg, file) && strstr(e.msg, "not a store of weir"));
    remove_files();
}

static void a_journal_without_its_file_is_refused(void)
{
    struct err e = {0};
    char path[128];

    dir_make();
    snprintf(path, sizeof(path), "%s-wal", file);
    close(open(path, O_WRONLY | O_CREAT, 0600));
    CHECK(store_open_embedded(dir, &e) == NULL);
    CHECK(strstr(e.msg, path) != NULL);
    remove_files();
}

/* ---- handing over ---- */

static int64_t quiet_at; /* what the store had when no write was under way any more */

static void put_slowly(void)
{
    put("/a", "{}");
}

static void hand_over_body(void)
{
    int64_t revision;
    struct err e = {0};
    const struct store_write w = {.key = STR("/b"), .value = STR("{}"), .if_modified = -1};

    CHECK(store->ops->await_hand_over(store, true, deadline_in(5000)) == 0);
    quiet_at = store->revision;
    CHECK(store->ops->await_write(store, &w, 1, STR("x"), &revision, &e) == -EROFS);
    CHECK(err_is_set(&e) && store->revision == quiet_at && get("/b").modified == 0);
    CHECK(store->ops->await_hand_over(store, false, NEVER) == 0);
    CHECK(put("/b", "{}") == quiet_at + 1);
}

static void a_store_that_is_handed_over_ends_its_writes_and_takes_no_others(void)
{
    void (*fns[])(void) = {put_slowly, hand_over_body};

    arena = arena_new(4096);
    dir_make();
    open_store();
    run_fibers(fns, 2);
    CHECK(quiet_at == 1);
    store->ops->close(store);
    remove_files();
    arena_free(arena);
}

TESTS(T(every_write_is_a_revision), T(a_write_happens_only_under_its_condition),
      T(steps_of_one_write_share_a_revision_and_a_fate),
      T(a_list_is_in_key_order_and_of_one_prefix), T(history_knows_who_wrote_what_over_what),
      T(writers_that_meet_keep_their_own_revisions_and_conditions),
      T(a_cancelled_writer_learns_the_outcome_all_the_same),
      T(a_write_that_finds_no_room_changes_nothing), T(the_file_is_for_its_owner_only),
      T(damage_is_refused_by_name_and_never_read_as_something_else),
      T(a_file_of_another_program_is_refused), T(a_journal_without_its_file_is_refused),
      T(a_store_that_is_handed_over_ends_its_writes_and_takes_no_others))
