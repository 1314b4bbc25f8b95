/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pb_encode: messages from JSON. The way between the two is the reference's (lua-protobuf), not
 * that of proto3's own JSON mapping, which spells names and well-known types otherwise.
 */
#include "proto/pb_module_priv.hh"

#include <cinttypes>
#include <climits>
#include <cmath>
#include <cstring>

namespace
{

bool expects(pb_error *e, const pb::FieldDescriptor *f, const char *what)
{
    return fail(e, f->full_name() + ": " + what + " expected");
}

/* Decimal, 0x..., and the reference's own "#123" for what does not fit a double. */
bool text_integer(const char *p, bool is_signed, uint64_t *out)
{
    char *end;
    p += *p == '#';
    const bool minus = *p == '-';
    const int base = strncmp(p + minus, "0x", 2) == 0 ? 16 : 10;
    if (p[minus] < '0' || p[minus] > '9' || (minus && !is_signed)) {
        return false;
    }
    errno = 0;
    *out = is_signed ? static_cast<uint64_t>(strtoll(p, &end, base)) : strtoull(p, &end, base);
    return errno == 0 && *end == 0;
}

bool integer_of(const json_t *v, bool is_signed, uint64_t *out)
{
    if (json_is_string(v)) {
        return text_integer(json_string_value(v), is_signed, out);
    }
    if (json_is_integer(v)) {
        *out = static_cast<uint64_t>(json_integer_value(v));
        return is_signed || json_integer_value(v) >= 0;
    }
    const double d = json_is_real(v) ? json_real_value(v) : NAN;
    if (d != std::floor(d) || d < (is_signed ? -0x1p63 : 0) || d >= (is_signed ? 0x1p63 : 0x1p64)) {
        return false;
    }
    *out = is_signed ? static_cast<uint64_t>(static_cast<int64_t>(d)) : static_cast<uint64_t>(d);
    return true;
}

bool number_of(const json_t *v, double *out)
{
    if (json_is_string(v)) {
        char *end;
        const char *p = json_string_value(v);
        *out = strtod(p, &end);
        return *p != 0 && *end == 0;
    }
    *out = json_number_value(v);
    return json_is_number(v);
}

bool bool_of(const json_t *v, bool *out)
{
    if (json_is_string(v)) {
        const std::string s = json_string_value(v);
        *out = s == "true" || s == "1";
        return *out || s == "false" || s == "0" || s.empty();
    }
    *out = json_is_true(v) || (json_is_integer(v) && json_integer_value(v) != 0);
    return json_is_boolean(v) || json_is_integer(v);
}

bool text_of(const json_t *v, std::string *out)
{
    if (json_is_string(v)) {
        out->assign(json_string_value(v), json_string_length(v));
        return true;
    }
    char number[32];
    if (json_is_integer(v)) {
        snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    } else {
        snprintf(number, sizeof(number), "%.17g", json_real_value(v));
    }
    *out = number;
    return json_is_number(v);
}

bool fill(pb::Message *m, const json_t *object, pb_error *e);

/* One value of m, or one more of a repeated field. */
class Place
{
  public:
    Place(pb::Message *m, const pb::FieldDescriptor *f) : m_(m), r_(m->GetReflection()), f_(f)
    {
    }

#define SET(Name, type)                                                                            \
    bool set(type v)                                                                               \
    {                                                                                              \
        f_->is_repeated() ? r_->Add##Name(m_, f_, v) : r_->Set##Name(m_, f_, v);                   \
        return true;                                                                               \
    }
    SET(Int32, int32_t)
    SET(UInt32, uint32_t)
    SET(Int64, int64_t)
    SET(UInt64, uint64_t)
    SET(Float, float)
    SET(Double, double)
    SET(Bool, bool)
    SET(String, const std::string &)
#undef SET
    bool set_enum(int v)
    {
        f_->is_repeated() ? r_->AddEnumValue(m_, f_, v) : r_->SetEnumValue(m_, f_, v);
        return true;
    }
    pb::Message *message()
    {
        return f_->is_repeated() ? r_->AddMessage(m_, f_) : r_->MutableMessage(m_, f_);
    }

  private:
    pb::Message *m_;
    const pb::Reflection *r_;
    const pb::FieldDescriptor *f_;
};

bool put_enum(Place to, const pb::FieldDescriptor *f, const json_t *v, pb_error *e)
{
    const pb::EnumDescriptor *d = f->enum_type();
    const pb::EnumValueDescriptor *named =
        json_is_string(v) ? d->FindValueByName(json_string_value(v)) : nullptr;
    uint64_t n;
    if (named) {
        return to.set_enum(named->number());
    }
    if (!integer_of(v, true, &n) || static_cast<int64_t>(n) != static_cast<int32_t>(n) ||
        (f->file()->syntax() != pb::FileDescriptor::SYNTAX_PROTO3 &&
         d->FindValueByNumber(static_cast<int>(n)) == nullptr)) {
        return expects(e, f, "a value of the enum");
    }
    return to.set_enum(static_cast<int>(n));
}

bool put(Place to, const pb::FieldDescriptor *f, const json_t *v, pb_error *e)
{
    uint64_t n = 0;
    double d;
    bool b;
    std::string s;
    switch (f->cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_INT32:
        return integer_of(v, true, &n) && static_cast<int64_t>(n) == static_cast<int32_t>(n)
                   ? to.set(static_cast<int32_t>(n))
                   : expects(e, f, "a number of 32 bits");
    case pb::FieldDescriptor::CPPTYPE_UINT32:
        return integer_of(v, false, &n) && n <= UINT32_MAX ? to.set(static_cast<uint32_t>(n))
                                                           : expects(e, f, "a number of 32 bits");
    case pb::FieldDescriptor::CPPTYPE_INT64:
        return integer_of(v, true, &n) ? to.set(static_cast<int64_t>(n))
                                       : expects(e, f, "a number of 64 bits");
    case pb::FieldDescriptor::CPPTYPE_UINT64:
        return integer_of(v, false, &n) ? to.set(n) : expects(e, f, "a number of 64 bits");
    case pb::FieldDescriptor::CPPTYPE_FLOAT:
        return number_of(v, &d) ? to.set(static_cast<float>(d)) : expects(e, f, "a number");
    case pb::FieldDescriptor::CPPTYPE_DOUBLE:
        return number_of(v, &d) ? to.set(d) : expects(e, f, "a number");
    case pb::FieldDescriptor::CPPTYPE_BOOL:
        return bool_of(v, &b) ? to.set(b) : expects(e, f, "true or false");
    case pb::FieldDescriptor::CPPTYPE_STRING:
        return text_of(v, &s) ? to.set(s) : expects(e, f, "a string");
    case pb::FieldDescriptor::CPPTYPE_ENUM:
        return put_enum(to, f, v, e);
    case pb::FieldDescriptor::CPPTYPE_MESSAGE:
        return json_is_object(v) ? fill(to.message(), v, e) : expects(e, f, "an object");
    }
    return false;
}

bool put_map(pb::Message *m, const pb::FieldDescriptor *f, const json_t *v, pb_error *e)
{
    const char *name;
    json_t *item;
    if (!json_is_object(v)) {
        return expects(e, f, "an object");
    }
    json_object_foreach(const_cast<json_t *>(v), name, item) {
        pb::Message *entry = m->GetReflection()->AddMessage(m, f);
        const pb::FieldDescriptor *key = f->message_type()->map_key();
        const pb::FieldDescriptor *value = f->message_type()->map_value();
        json_t *text = json_string(name);
        const bool ok =
            put(Place(entry, key), key, text, e) && put(Place(entry, value), value, item, e);
        json_decref(text);
        if (!ok) {
            return false;
        }
    }
    return true;
}

bool put_field(pb::Message *m, const pb::FieldDescriptor *f, const json_t *v, pb_error *e)
{
    size_t i;
    json_t *item;
    if (f->is_map()) {
        return put_map(m, f, v, e);
    }
    if (!f->is_repeated() || !json_is_array(v)) {
        return put(Place(m, f), f, v, e); /* of a query, one item of a list comes alone */
    }
    json_array_foreach(v, i, item) {
        if (!put(Place(m, f), f, item, e)) {
            return false;
        }
    }
    return true;
}

bool fill(pb::Message *m, const json_t *object, pb_error *e)
{
    const char *name;
    json_t *v;
    json_object_foreach(const_cast<json_t *>(object), name, v) {
        const pb::FieldDescriptor *f = m->GetDescriptor()->FindFieldByName(name);
        if (f && !json_is_null(v) && !put_field(m, f, v, e)) {
            return false;
        }
    }
    return true;
}

int json_depth(const json_t *v, int left)
{
    const char *name;
    size_t i;
    json_t *item;
    if (left == 0) {
        return 0;
    }
    json_object_foreach(const_cast<json_t *>(v), name, item) {
        if (json_depth(item, left - 1) == 0) {
            return 0;
        }
    }
    json_array_foreach(v, i, item) {
        if (json_depth(item, left - 1) == 0) {
            return 0;
        }
    }
    return left;
}

} // namespace

int encode(const pb_type *t, const json_t *value, pb_out *out, pb_error *e)
{
    pb::Arena arena;
    pb::Message *m = prototype_of(t)->New(&arena);
    if (!json_is_object(value)) {
        say(e, "an object expected");
        return -1;
    }
    /* a list is a level of JSON and none of messages */
    if (json_depth(value, 2 * MAX_DEPTH) == 0) {
        say(e, "nested too deeply");
        return -1;
    }
    if (!fill(m, value, e)) {
        return -1;
    }
    const size_t n = m->ByteSizeLong();
    if (n > INT_MAX) {
        say(e, "too large");
        return -1;
    }
    out->p = out->room(out->arg, n);
    out->n = n;
    return m->SerializePartialToArray(out->p, static_cast<int>(n)) ? 0 : -1;
}
