/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* pb_module_priv: what the files of the protobuf module know of each other. */
#include "proto/pb_module.h"

#include <google/protobuf/arena.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <string>

namespace pb = google::protobuf;

/* A fiber's stack is small: neither schemas nor messages may be deeper. */
constexpr int MAX_DEPTH = 32;

inline void say(pb_error *e, const std::string &text)
{
    if (e->text[0] == 0) {
        snprintf(e->text, sizeof(e->text), "%s", text.c_str());
    }
}

inline bool fail(pb_error *e, const std::string &text)
{
    say(e, text);
    return false;
}

/* A type is known to C by the empty message that others are made from. */
inline const pb_type *type_of(const pb::Message *prototype)
{
    return reinterpret_cast<const pb_type *>(prototype);
}

inline const pb::Message *prototype_of(const pb_type *t)
{
    return reinterpret_cast<const pb::Message *>(t);
}

/* ---- pb_schema.cc ---- */
pb_schema *schema_new(const char *content, size_t n, pb_error *e);
void schema_free(pb_schema *s);
const pb_method *method_find(const pb_schema *s, const char *service, const char *method);
const pb_type *type_find(const pb_schema *s, const char *name);

/* ---- pb_encode.cc ---- */
int encode(const pb_type *t, const json_t *value, pb_out *out, pb_error *e);

/* ---- pb_decode.cc ---- */
int decode(const pb_type *t, const char *p, size_t n, const pb_format *f, pb_out *out, pb_error *e);
int decode_status(const pb_type *t, const char *p, size_t n, const pb_format *f, pb_out *out,
                  pb_error *e);
