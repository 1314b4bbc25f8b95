/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * pb_module: what lies between the gateway and weir_protobuf.so, in C that C++ reads too. Nobody
 * but proto/pb.c and proto/pb_module.cc includes this; the rest of the program sees proto/pb.h.
 *
 * Schemas are immutable once made and may be used by any thread. Nothing throws, nothing parks.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* To be changed with anything below: a module of another build is refused. */
#define PB_MODULE_ABI 2

struct pb_schema;
struct pb_type; /* a message */

struct pb_method {
    const struct pb_type *input, *output;
    bool client_streams, server_streams;
};

/* How messages are written as JSON (options of the reference's lua-protobuf). */
enum pb_int64 { PB_INT64_NUMBER, PB_INT64_STRING, PB_INT64_HEX };
enum pb_defaults {
    PB_DEFAULTS_AUTO,      /* of proto3 messages */
    PB_DEFAULTS_NONE,      /* what was not sent is not written */
    PB_DEFAULTS_ALL,       /* of proto2 messages too */
    PB_DEFAULTS_METATABLE, /* empty lists and maps only */
};
struct pb_format {
    enum pb_int64 int64;
    enum pb_defaults defaults;
    bool enum_as_value;
    size_t max; /* bytes of JSON; 0: any number */
};

/* Where results go: room for n bytes, whose lifetime is the caller's business. */
struct pb_out {
    char *(*room)(void *arg, size_t n);
    void *arg;
    char *p;
    size_t n;
};

/* Room for the words that say what is wrong. */
struct pb_error {
    char text[1024];
};

struct pb_module {
    unsigned abi;
    /* Text of one .proto file, or base64 of a FileDescriptorSet. NULL with the reason. */
    struct pb_schema *(*schema_new)(const char *content, size_t n, struct pb_error *e);
    void (*schema_free)(struct pb_schema *s);
    /* "package.Service" and a method's name; NULL: there is none. Lives as long as the schema. */
    const struct pb_method *(*method_find)(const struct pb_schema *s, const char *service,
                                           const char *method);
    /* "package.Message" */
    const struct pb_type *(*type_find)(const struct pb_schema *s, const char *name);
    /* A message from a JSON object. 0, or -1 with the reason. */
    int (*encode)(const struct pb_type *t, const json_t *value, struct pb_out *out,
                  struct pb_error *e);
    /* A message as JSON text. */
    int (*decode)(const struct pb_type *t, const char *p, size_t n, const struct pb_format *f,
                  struct pb_out *out, struct pb_error *e);
    /* A google.rpc.Status as {"error":{...}}; details are of type t, or Any when t is NULL. */
    int (*decode_status)(const struct pb_type *t, const char *p, size_t n,
                         const struct pb_format *f, struct pb_out *out, struct pb_error *e);
};
/* The one symbol of the module. */
#define PB_MODULE_SYMBOL "weir_protobuf_module"
