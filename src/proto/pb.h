/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * pb: protobuf schemas, and messages from and to JSON. libprotobuf does the work, in a module
 * (weir_protobuf.so) that is loaded when a configuration first names a schema; without it such a
 * configuration is refused.
 *
 * JSON is as the reference has it: field names as the schema spells them, bytes as text, 64-bit
 * integers and enums by struct pb_format; unknown members are ignored. Functions may be called from
 * any thread once a schema is there.
 */
#include "base/arena.h"
#include "base/err.h"
#include "proto/pb_module.h"

/* Load the module (once; any later call is cheap). 0, or -1 with the reason. Control thread. */
int pb_load(struct err *e);

/* content: text of a .proto file, or base64 of a FileDescriptorSet. NULL with the reason. Control
 * thread; freed by pb_schema_free(). */
struct pb_schema *pb_schema_new(struct str content, struct err *e);
void pb_schema_free(struct pb_schema *s);
/* NULL: there is none. Valid as long as the schema. service: "package.Service". */
const struct pb_method *pb_method_find(const struct pb_schema *s, const char *service,
                                       const char *method);
const struct pb_type *pb_type_find(const struct pb_schema *s, const char *name);

/* The message in arena a behind `before` bytes of room. STR_NONE with the reason. */
struct str pb_encode(struct arena *a, const struct pb_type *t, const json_t *value, size_t before,
                     struct err *e);
/* JSON text in arena a. STR_NONE with the reason. */
struct str pb_decode(struct arena *a, const struct pb_type *t, struct str message,
                     const struct pb_format *f, struct err *e);
/* {"error":{...}} of a google.rpc.Status; its details are messages of type t (NULL: as they are).
 */
struct str pb_decode_status(struct arena *a, const struct pb_type *t, struct str message,
                            const struct pb_format *f, struct err *e);
