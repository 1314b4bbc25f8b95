/* SPDX-License-Identifier: Apache-2.0 */
/* proto: a protobuf schema that plugins find by id. */
#include "config/resource_priv.h"
#include "proto/pb.h"

struct proto_json {
    struct str content;
};

static const struct field proto_fields[] = {
    FIELD_ID,
    FIELD_TIMES,
    FIELD_DESC,
    FIELD_LABELS,
    F_ONLY("name", .raw = JSON({"type": "string", "minLength": 1, "maxLength": 256}),
           .doc = "For people."),
    F_STR(struct proto_json, content, .required = true, .min_len = 1, .max_len = 1048576,
          .doc = "Text of a .proto file, or base64 of a FileDescriptorSet."),
    F_END,
};

static int proto_after(const struct check *c)
{
    struct pb_schema *s = pb_schema_new(json_str(json_get(c->value, "content")), c->e);

    pb_schema_free(s);
    return s != NULL ? 0 : err_prefix(c->e, "invalid content: ");
}

static void free_schema(void *schema)
{
    pb_schema_free(schema);
}

static struct object *proto_build(struct arena *a, struct str id, const json_t *value,
                                  struct err *e)
{
    struct proto *o = ARENA_NEW(a, struct proto);
    struct proto_json j = {0};

    fields_fill(proto_fields, value, &j, a);
    struct pb_schema *s = pb_schema_new(j.content, e);
    if (s == NULL) {
        return NULL;
    }
    arena_on_reset(a, free_schema, s);
    o->schema = s;
    return &o->o;
}

const struct resource_type proto_type = {
    .fields = proto_fields,
    .has_id = true,
    .after = proto_after,
    .build = proto_build,
};
