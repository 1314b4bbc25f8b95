/* SPDX-License-Identifier: Apache-2.0 */
/*
 * headers: the list of fields, and the table that gives known names their id.
 *
 * The table is a perfect hash over length and three bytes of the name. The multiplier that makes it
 * perfect is looked for once when the program starts (some tens of tries), so adding a name to
 * HEADER_IDS needs no generator.
 */
#include "proto/headers.h"

#include "base/assert.h"
#include "proto/h1_scan.h"

enum { NAME_MAX_LEN = 32, SLOTS_LOG2 = 9 };

/* Padded with zeros, so that whole words can be compared. */
static const struct {
    uint8_t n;
    char text[NAME_MAX_LEN];
} known[H_COUNT] = {
#define X(id, name) [H_##id] = {sizeof(name) - 1, name},
    HEADER_IDS(X)
#undef X
};

static char spelling[H_COUNT][NAME_MAX_LEN];
static uint8_t slots[1 << SLOTS_LOG2];
static uint32_t multiplier;

/* Letters in lower case; only names spelled in ASCII can match, so folding other bytes too does no
 * harm here. */
static uint32_t name_slot(const char *p, size_t n, uint32_t m)
{
    const uint32_t key = (uint32_t)n | ((uint32_t)(uint8_t)(p[0] | 0x20) << 8) |
                         ((uint32_t)(uint8_t)(p[n * 3 / 4] | 0x20) << 16) |
                         ((uint32_t)(uint8_t)(p[n / 2] | 0x20) << 24);

    return (key * m) >> (32 - SLOTS_LOG2);
}

static bool slots_fill(uint32_t m)
{
    memset(slots, H_OTHER, sizeof(slots));
    for (int id = H_OTHER + 1; id < H_COUNT; id++) {
        uint8_t *slot = &slots[name_slot(known[id].text, known[id].n, m)];

        if (*slot != H_OTHER) {
            return false;
        }
        *slot = (uint8_t)id;
    }
    return true;
}

/* First letters of words are capitals, but for some names that history spelled otherwise. */
static void spelling_init(void)
{
    static const struct {
        enum header_id id;
        char text[NAME_MAX_LEN];
    } odd[] = {{H_ETAG, "ETag"},
               {H_TE, "TE"},
               {H_WWW_AUTHENTICATE, "WWW-Authenticate"},
               {H_HTTP2_SETTINGS, "HTTP2-Settings"},
               {H_X_API_KEY, "X-API-KEY"},
               {H_X_REAL_IP, "X-Real-IP"},
               {H_X_CONSUMER_CUSTOM_ID, "X-Consumer-Custom-ID"}};

    for (int id = H_OTHER + 1; id < H_COUNT; id++) {
        for (size_t i = 0; i < known[id].n; i++) {
            const char c = known[id].text[i];
            const bool first = i == 0 || known[id].text[i - 1] == '-';

            spelling[id][i] = first && c >= 'a' && c <= 'z' ? (char)(c - 0x20) : c;
        }
    }
    for (size_t i = 0; i < LENGTH_OF(odd); i++) {
        memcpy(spelling[odd[i].id], odd[i].text, NAME_MAX_LEN);
    }
}

__attribute__((constructor)) static void slots_init(void)
{
    uint32_t m = 0x9e3779b1;
    int tries = 0;

    _Static_assert(H_COUNT <= 64, "a bit of headers.present each");
    spelling_init();
    while (!slots_fill(m)) {
        /* Fails only when two names agree in length and the three bytes: then name_slot has to look
         * at others. */
        ASSERT(++tries < 100000);
        m = m * 1664525 + 1013904223;
    }
    multiplier = m;
}

/* Eight bytes with ASCII capitals made small; no carry leaves a byte. */
static uint64_t fold8(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101, high = 0x80 * ones;
    const uint64_t low7 = x & ~high;
    const uint64_t from_a = low7 + (0x80 - 'A') * ones, past_z = low7 + (0x7f - 'Z') * ones;
    const uint64_t capital = (from_a ^ past_z) & ~x & high;

    return x | capital >> 2;
}

static uint64_t load8(const char *p)
{
    uint64_t x;

    memcpy(&x, p, sizeof(x));
    return x;
}

static uint64_t load4(const char *p)
{
    uint32_t x;

    memcpy(&x, p, sizeof(x));
    return x;
}

/* Is p[0..n) in any case the lower-case name? Words that overlap make one comparison of the rest.
 */
static bool name_is(const char *p, const char *name, size_t n)
{
    if (n >= 8) {
        for (size_t i = 0; i + 8 < n; i += 8) {
            if (fold8(load8(p + i)) != load8(name + i)) {
                return false;
            }
        }
        return fold8(load8(p + n - 8)) == load8(name + n - 8);
    }
    if (n >= 4) {
        return fold8(load4(p) | load4(p + n - 4) << 32) ==
               (load4(name) | load4(name + n - 4) << 32);
    }
    for (size_t i = 0; i < n; i++) {
        if (ascii_lower(p[i]) != name[i]) {
            return false;
        }
    }
    return true;
}

enum header_id header_id_of(struct str name)
{
    if (name.n == 0 || name.n > NAME_MAX_LEN) {
        return H_OTHER;
    }
    const enum header_id id = (enum header_id)slots[name_slot(name.p, name.n, multiplier)];

    return known[id].n == name.n && name_is(name.p, known[id].text, name.n) ? id : H_OTHER;
}

struct str header_name(enum header_id id)
{
    ASSERT(id < H_COUNT);
    return str_of(known[id].text, known[id].n);
}

struct str header_spelling(enum header_id id)
{
    ASSERT(id < H_COUNT);
    return str_of(spelling[id], known[id].n);
}

void headers_init(struct headers *h, struct arena *a, unsigned cap)
{
    *h = (struct headers){.arena = a, .cap = cap};
    h->v = cap > 0 ? arena_alloc_raw(a, sizeof(*h->v) * cap) : NULL;
}

static bool header_is_named(const struct header *f, enum header_id id, struct str name)
{
    return id != H_OTHER ? f->id == id : f->id == H_OTHER && str_ieq(f->name, name);
}

static struct header *find(const struct headers *h, enum header_id id, struct str name)
{
    if (!headers_may_have(h, id)) {
        return NULL;
    }
    for (unsigned i = 0; i < h->n; i++) {
        if (header_is_named(&h->v[i], id, name)) {
            return &h->v[i];
        }
    }
    return NULL;
}

struct header *headers_find(const struct headers *h, enum header_id id)
{
    ASSERT(id != H_OTHER);
    return find(h, id, STR_NONE);
}

struct header *headers_find_name(const struct headers *h, struct str name)
{
    return find(h, header_id_of(name), name);
}

struct str headers_get(const struct headers *h, enum header_id id)
{
    const struct header *f = headers_find(h, id);

    return f ? f->value : STR_NONE;
}

struct str headers_get_name(const struct headers *h, struct str name)
{
    const struct header *f = headers_find_name(h, name);

    return f ? f->value : STR_NONE;
}

void headers_grow(struct headers *h)
{
    const unsigned cap = h->cap < 8 ? 16 : h->cap * 2;
    struct header *v = arena_alloc_raw(h->arena, sizeof(*v) * cap);

    if (h->n > 0) {
        memcpy(v, h->v, h->n * sizeof(*v));
    }
    h->v = v;
    h->cap = cap;
}

void headers_add(struct headers *h, struct str name, struct str value)
{
    headers_append(h, header_id_of(name), name, value);
}

void headers_add_id(struct headers *h, enum header_id id, struct str value)
{
    ASSERT(id != H_OTHER);
    headers_append(h, id, header_spelling(id), value);
}

/* Drop the fields of this name from index i on. */
static unsigned del_from(struct headers *h, unsigned i, enum header_id id, struct str name)
{
    unsigned kept = i;

    for (; i < h->n; i++) {
        if (!header_is_named(&h->v[i], id, name)) {
            h->v[kept++] = h->v[i];
        }
    }
    const unsigned gone = h->n - kept;

    h->n = kept;
    return gone;
}

static void set(struct headers *h, enum header_id id, struct str name, struct str value)
{
    struct header *f = find(h, id, name);

    if (f == NULL) {
        headers_append(h, id, name, value);
        return;
    }
    *f = (struct header){.name = name, .value = value, .id = id};
    del_from(h, (unsigned)(f - h->v) + 1, id, name);
}

void headers_set(struct headers *h, struct str name, struct str value)
{
    set(h, header_id_of(name), name, value);
}

void headers_set_id(struct headers *h, enum header_id id, struct str value)
{
    ASSERT(id != H_OTHER);
    set(h, id, header_spelling(id), value);
}

unsigned headers_del(struct headers *h, struct str name)
{
    return del_from(h, 0, header_id_of(name), name);
}

unsigned headers_del_id(struct headers *h, enum header_id id)
{
    ASSERT(id != H_OTHER);
    return headers_may_have(h, id) ? del_from(h, 0, id, STR_NONE) : 0;
}

bool headers_has_token(const struct headers *h, enum header_id id, struct str token)
{
    if (!headers_may_have(h, id)) {
        return false;
    }
    for (unsigned i = 0; i < h->n; i++) {
        struct str rest = h->v[i].value, part;

        if (h->v[i].id != id) {
            continue;
        }
        if (rest.n <= token.n) {
            if (str_ieq(rest, token)) {
                return true;
            }
            continue;
        }
        while (str_split(&rest, ',', &part)) {
            if (str_ieq(str_trim(part), token)) {
                return true;
            }
        }
    }
    return false;
}

bool header_name_is_valid(struct str name)
{
    return name.n > 0 && h1_scan_token(name.p, name.n) == name.n;
}

bool header_value_is_valid(struct str value)
{
    return h1_scan_value(value.p, value.n) == value.n;
}
