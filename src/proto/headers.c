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
#include "proto/headers_priv.h"

const struct known_name header_names[H_COUNT] = {
#define X(id, name) [H_##id] = {name, sizeof(name) - 1},
    HEADER_IDS(X)
#undef X
};

static char spelling[H_COUNT][NAME_MAX_LEN];
uint8_t header_slots[1 << SLOTS_LOG2];
uint32_t header_multiplier;

static bool slots_fill(uint32_t m)
{
    memset(header_slots, H_OTHER, sizeof(header_slots));
    for (int id = H_OTHER + 1; id < H_COUNT; id++) {
        uint8_t *slot = &header_slots[header_slot(header_names[id].text, header_names[id].n, m)];

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
        for (size_t i = 0; i < header_names[id].n; i++) {
            const char c = header_names[id].text[i];
            const bool first = i == 0 || header_names[id].text[i - 1] == '-';

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
        /* Fails only when two names agree in length and the three bytes: then header_slot has to
         * look at others. */
        ASSERT(++tries < 100000);
        m = m * 1664525 + 1013904223;
    }
    header_multiplier = m;
}

enum header_id header_id_of(struct str name)
{
    if (name.n == 0 || name.n > NAME_MAX_LEN) {
        return H_OTHER;
    }
    const enum header_id id =
        (enum header_id)header_slots[header_slot(name.p, name.n, header_multiplier)];

    return str_ieq(header_name(id), name) ? id : H_OTHER;
}

struct str header_name(enum header_id id)
{
    ASSERT(id < H_COUNT);
    return str_of(header_names[id].text, header_names[id].n);
}

struct str header_spelling(enum header_id id)
{
    ASSERT(id < H_COUNT);
    return str_of(spelling[id], header_names[id].n);
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
