/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pb_module: protobuf by libprotobuf, behind the C table of pb_module.h. Becomes weir_protobuf.so.
 * Messages are dynamic ones: made from descriptors, read and written field by field.
 */
#include "proto/pb_module_priv.hh"

extern "C" __attribute__((visibility("default"))) const struct pb_module weir_protobuf_module = {
    PB_MODULE_ABI, schema_new, schema_free, method_find, type_find, encode, decode, decode_status,
};
