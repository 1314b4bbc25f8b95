/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * auth: what plugins that authenticate share: the options realm, anonymous_consumer and
 * hide_credentials, the 401, and what happens to the request of a known consumer.
 *
 * X-Consumer-Username, X-Credential-Identifier and X-Consumer-Custom-ID belong to these plugins: a
 * client's own, in any spelling, never pass one. Texts for clients and the log are fixed ones, so
 * that no credential gets into them.
 */
#include "plugin/plugin.h"

struct auth_options {
    struct str realm, anonymous; /* anonymous: STR_NONE when there is none */
    bool hide;
    struct str challenge; /* the value of WWW-Authenticate, by auth_prepare() */
};

/* Rows of a field table for struct auth_options m in struct s; realm_def is JSON text. */
#define AUTH_FIELDS(s, m, realm_def)                                                               \
    F_AS("realm", s, m.realm, .def = realm_def, .min_len = 1, .max_len = 128,                      \
         .pattern = "^[ -!#-[\\]-~]+$", .doc = "The realm that a 401 names."),                     \
        F_AS("anonymous_consumer", s, m.anonymous, .min_len = 1,                                   \
             .doc = "Consumer that a request without valid credentials counts as."),               \
        F_AS("hide_credentials", s, m.hide, .def = "false",                                        \
             .doc = "Remove the credentials before the request goes upstream.")

/* scheme: the word before realm="..." in the 401. */
void auth_prepare(struct arena *a, struct auth_options *o, const char *scheme);
/* The request is who's from here on. Always NEXT. */
enum verdict auth_accept(struct req *r, const struct identity *who);
/*
 * Nobody is known: NEXT as the anonymous consumer if there is one, else DONE with a 401. body: JSON
 * text with a newline; why: for the log. Neither holds anything the client sent.
 */
enum verdict auth_reject(struct req *r, const struct plugin *p, const struct auth_options *o,
                         struct str body, struct str why);

/* Remove a field (every spelling), every query argument, a cookie of this name before the request
 * goes upstream. */
void auth_hide_header(struct req *r, struct str name);
void auth_hide_query(struct req *r, struct str name);
void auth_hide_cookie(struct req *r, struct str name);
