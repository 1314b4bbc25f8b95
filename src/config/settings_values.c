/* SPDX-License-Identifier: Apache-2.0 */
/* settings_values: the ways to write times, sizes, switches and numbers, and the number of CPUs. */
#include "config/settings_priv.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

struct unit {
    struct str name;
    int64_t factor;
};

/* More than this is a slip of the pen, and products must fit. */
static const double VALUE_MAX = 4e15;

static bool to_integer(double v, int64_t *out)
{
    if (!(v >= 0) || v > VALUE_MAX) {
        return false;
    }
    *out = (int64_t)(v + 0.5);
    return true;
}

/* The decimal number at the start of *s, taken off it. */
static bool take_number(struct str *s, double *out)
{
    size_t n = 0;

    while (n < s->n && ((s->p[n] >= '0' && s->p[n] <= '9') || s->p[n] == '.')) {
        n++;
    }
    if (n == 0 || !str_to_number(str_head(*s, n), out)) {
        return false;
    }
    *s = str_skip(*s, n);
    return true;
}

static bool take_unit(struct str *s, const struct unit *units, int64_t *factor)
{
    size_t n = 0;

    while (n < s->n && ((s->p[n] >= 'a' && s->p[n] <= 'z') || (s->p[n] >= 'A' && s->p[n] <= 'Z'))) {
        n++;
    }
    for (; units->name.p != NULL; units++) {
        if (str_ieq(units->name, str_head(*s, n))) {
            *factor = units->factor;
            *s = str_trim(str_skip(*s, n));
            return true;
        }
    }
    return false;
}

/* A sum of numbers with units; a unit left out is plain. */
static bool parse_sum(struct str s, const struct unit *units, int64_t *out)
{
    double sum = 0, v;
    int64_t factor;

    s = str_trim(s);
    do {
        if (!take_number(&s, &v) || !take_unit(&s, units, &factor)) {
            return false;
        }
        sum += v * (double)factor;
    } while (s.n > 0);
    return to_integer(sum, out);
}

bool parse_time(const json_t *v, int64_t *ms)
{
    static const struct unit units[] = {
        {STR_INIT("ms"), 1},    {STR_INIT(""), 1000},     {STR_INIT("s"), 1000},
        {STR_INIT("m"), 60000}, {STR_INIT("h"), 3600000}, {STR_INIT("d"), 86400000},
        {{NULL, 0}, 0},
    };

    return json_is_string(v) ? parse_sum(json_str(v), units, ms)
                             : json_is_number(v) && to_integer(json_number_value(v) * 1000, ms);
}

bool parse_size(const json_t *v, int64_t *bytes)
{
    static const struct unit units[] = {
        {STR_INIT(""), 1},        {STR_INIT("k"), 1 << 10}, {STR_INIT("m"), 1 << 20},
        {STR_INIT("g"), 1 << 30}, {{NULL, 0}, 0},
    };

    return json_is_string(v) ? parse_sum(json_str(v), units, bytes)
                             : json_is_integer(v) && to_integer(json_number_value(v), bytes);
}

bool parse_bool(const json_t *v, bool *out)
{
    static const char *const on[] = {"on", "yes", "true", NULL}, *const off[] = {"off", "no",
                                                                                 "false", NULL};

    if (json_is_boolean(v)) {
        *out = json_is_true(v);
        return true;
    }
    for (int i = 0; json_is_string(v) && on[i] != NULL; i++) {
        if (str_ieq(json_str(v), str_c(on[i])) || str_ieq(json_str(v), str_c(off[i]))) {
            *out = str_ieq(json_str(v), str_c(on[i]));
            return true;
        }
    }
    return false;
}

bool parse_integer(const json_t *v, int64_t *out)
{
    if (json_is_real(v) && floor(json_real_value(v)) == json_real_value(v) &&
        fabs(json_real_value(v)) < VALUE_MAX) {
        *out = (int64_t)json_real_value(v);
        return true;
    }
    *out = json_integer_value(v);
    return json_is_integer(v) || (json_is_string(v) && str_to_i64(json_str(v), out));
}

/* ---- CPUs ---- */

/* The quota in cpu.max of a folder of the control group tree, in CPUs rounded up; 0: none. */
static unsigned quota_at(const char *group)
{
    char path[600];
    unsigned long quota = 0, period = 0;

    snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", group);
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return 0;
    }
    /* "max 100000" when there is no quota. */
    const int n = fscanf(f, "%lu %lu", &quota, &period);
    fclose(f);
    return n == 2 && quota > 0 && period > 0 ? (unsigned)((quota + period - 1) / period) : 0;
}

/* The tightest quota on the way from the group of this process up to the root. */
static unsigned quota_cpus(void)
{
    char line[512], *slash;
    unsigned least = 0;
    FILE *f = fopen("/proc/self/cgroup", "re");

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, "0::/", 4) != 0) {
            continue;
        }
        line[strcspn(line, "\n")] = 0;
        char *group = line + 3;
        do {
            const unsigned q = quota_at(group);

            least = q > 0 && (least == 0 || q < least) ? q : least;
            slash = strrchr(group, '/');
            if (slash != NULL) {
                *slash = 0;
            }
        } while (slash != NULL);
    }
    if (f != NULL) {
        fclose(f);
    }
    return least;
}

unsigned cpus_usable(void)
{
    cpu_set_t set;
    unsigned cpus = 1;
    const unsigned quota = quota_cpus();

    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0) {
        cpus = (unsigned)CPU_COUNT(&set);
    }
    return quota > 0 && quota < cpus ? quota : cpus;
}
