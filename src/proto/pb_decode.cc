/* SPDX-License-Identifier: Apache-2.0 */
/* pb_decode: messages as JSON, in the way of pb_encode.cc. */
#include "proto/pb_module_priv.hh"

#include <cinttypes>
#include <climits>
#include <cmath>
#include <cstring>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

namespace
{

/* How many bytes at p are one character of UTF-8; 0: they are none. */
size_t utf8_length(const unsigned char *p, size_t left)
{
    const size_t n = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : *p >= 0xe0 && *p < 0xf0 ? 3 : 4;
    if (*p >= 0xf5 || (*p >= 0x80 && *p < 0xc2) || n > left) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    const bool bad = n > 2 && ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
                               (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f));
    return bad ? 0 : n;
}

class Writer
{
  public:
    Writer(const pb_format &f, std::string *out) : format_(f), out_(*out)
    {
    }

    /* Without the braces, so that others can be added. */
    void members(const pb::Message &m)
    {
        const pb::Descriptor *d = m.GetDescriptor();
        bool any = false;
        for (int i = 0; i < d->field_count() && !is_too_long(); i++) {
            const pb::FieldDescriptor *f = d->field(i);
            if (is_written(m, f)) {
                out_ += any ? "," : "";
                string(f->name());
                out_ += ':';
                field(m, f);
                any = true;
            }
        }
    }
    void message(const pb::Message &m)
    {
        out_ += '{';
        members(m);
        out_ += '}';
    }
    void string(const std::string &s)
    {
        out_ += '"';
        for (size_t i = 0; i < s.size();) {
            const auto *p = reinterpret_cast<const unsigned char *>(s.data()) + i;
            const size_t n = utf8_length(p, s.size() - i);
            if (n > 1 || (n == 1 && *p >= 0x20 && *p != '"' && *p != '\\' && *p != 0x7f)) {
                out_.append(s, i, n);
            } else {
                escaped(*p);
            }
            i += n ? n : 1;
        }
        out_ += '"';
    }

    bool is_too_long() const
    {
        return format_.max && out_.size() > format_.max;
    }

  private:
    void escaped(unsigned char c)
    {
        static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
        const char *at = c ? strchr(from, c) : nullptr;
        char text[8];
        if (at) {
            out_ += '\\';
            out_ += to[at - from];
        } else {
            snprintf(text, sizeof(text), "\\u%04x", c);
            out_ += text;
        }
    }

    /* What the sender left out is written when the options say so (lua-protobuf's encode modes). */
    bool is_written(const pb::Message &m, const pb::FieldDescriptor *f) const
    {
        const pb::Reflection *r = m.GetReflection();
        const bool proto3 = f->file()->syntax() == pb::FileDescriptor::SYNTAX_PROTO3;
        const bool copies =
            format_.defaults == PB_DEFAULTS_ALL || (format_.defaults == PB_DEFAULTS_AUTO && proto3);
        if (f->is_repeated()) {
            return r->FieldSize(m, f) > 0 ||
                   (proto3 && (copies || format_.defaults == PB_DEFAULTS_METATABLE));
        }
        if (r->HasField(m, f)) {
            return true;
        }
        return copies && f->cpp_type() != pb::FieldDescriptor::CPPTYPE_MESSAGE &&
               !f->containing_oneof() && (proto3 || f->has_default_value());
    }

    void integer(int64_t v)
    {
        if (format_.int64 != PB_INT64_NUMBER && (v < INT_MIN || v > UINT_MAX)) {
            long_text(v < 0, v < 0 ? 0 - static_cast<uint64_t>(v) : static_cast<uint64_t>(v));
        } else {
            out_ += std::to_string(v);
        }
    }
    void unsigned_integer(uint64_t v)
    {
        if (format_.int64 != PB_INT64_NUMBER && v > UINT_MAX) {
            long_text(false, v);
        } else {
            out_ += std::to_string(v);
        }
    }
    /* The reference marks such texts, and takes them back. */
    void long_text(bool minus, uint64_t v)
    {
        char text[40];
        snprintf(text, sizeof(text),
                 format_.int64 == PB_INT64_HEX ? "\"#%s0x%" PRIX64 "\"" : "\"#%s%" PRIu64 "\"",
                 minus ? "-" : "", v);
        out_ += text;
    }
    /* The shortest text that gives the number back. */
    void number(double v, bool is_float)
    {
        char text[40];
        if (!std::isfinite(v)) {
            out_ += std::isnan(v) ? "\"NaN\"" : v < 0 ? "\"-Infinity\"" : "\"Infinity\"";
            return;
        }
        for (int digits = is_float ? 6 : 15; digits <= 17; digits++) {
            snprintf(text, sizeof(text), "%.*g", digits, v);
            if (is_float ? strtof(text, nullptr) == static_cast<float>(v)
                         : strtod(text, nullptr) == v) {
                break;
            }
        }
        out_ += text;
    }

    void enumeration(const pb::FieldDescriptor *f, int v)
    {
        const pb::EnumValueDescriptor *named = f->enum_type()->FindValueByNumber(v);
        if (named && !format_.enum_as_value) {
            string(named->name());
        } else {
            integer(v);
        }
    }

    /* i: of a repeated field, else -1 */
    void value(const pb::Message &m, const pb::FieldDescriptor *f, int i)
    {
        const pb::Reflection *r = m.GetReflection();
        std::string room;
#define GET(Name) (i < 0 ? r->Get##Name(m, f) : r->GetRepeated##Name(m, f, i))
        switch (f->cpp_type()) {
        case pb::FieldDescriptor::CPPTYPE_INT32:
            return integer(GET(Int32));
        case pb::FieldDescriptor::CPPTYPE_INT64:
            return integer(GET(Int64));
        case pb::FieldDescriptor::CPPTYPE_UINT32:
            return unsigned_integer(GET(UInt32));
        case pb::FieldDescriptor::CPPTYPE_UINT64:
            return unsigned_integer(GET(UInt64));
        case pb::FieldDescriptor::CPPTYPE_FLOAT:
            return number(static_cast<double>(GET(Float)), true);
        case pb::FieldDescriptor::CPPTYPE_DOUBLE:
            return number(GET(Double), false);
        case pb::FieldDescriptor::CPPTYPE_BOOL:
            out_ += GET(Bool) ? "true" : "false";
            return;
        case pb::FieldDescriptor::CPPTYPE_STRING:
            return string(i < 0 ? r->GetStringReference(m, f, &room)
                                : r->GetRepeatedStringReference(m, f, i, &room));
        case pb::FieldDescriptor::CPPTYPE_ENUM:
            return enumeration(f, GET(EnumValue));
        case pb::FieldDescriptor::CPPTYPE_MESSAGE:
            return message(GET(Message));
        }
#undef GET
    }

    /* Keys of maps are texts in JSON, whatever they are in the schema. */
    void map(const pb::Message &m, const pb::FieldDescriptor *f)
    {
        const pb::Reflection *r = m.GetReflection();
        const int n = r->FieldSize(m, f);
        out_ += '{';
        for (int i = 0; i < n && !is_too_long(); i++) {
            const pb::Message &entry = r->GetRepeatedMessage(m, f, i);
            out_ += i ? "," : "";
            map_key(entry, f->message_type()->map_key());
            out_ += ':';
            value(entry, f->message_type()->map_value(), -1);
        }
        out_ += '}';
    }
    void map_key(const pb::Message &entry, const pb::FieldDescriptor *key)
    {
        const pb_format plain = {PB_INT64_NUMBER, PB_DEFAULTS_NONE, true, 0};
        const char *quote = key->cpp_type() == pb::FieldDescriptor::CPPTYPE_STRING ? "" : "\"";
        out_ += quote;
        Writer(plain, &out_).value(entry, key, -1);
        out_ += quote;
    }

    void field(const pb::Message &m, const pb::FieldDescriptor *f)
    {
        if (f->is_map()) {
            return map(m, f);
        }
        if (!f->is_repeated()) {
            return value(m, f, -1);
        }
        const int n = m.GetReflection()->FieldSize(m, f);
        out_ += '[';
        for (int i = 0; i < n && !is_too_long(); i++) {
            out_ += i ? "," : "";
            value(m, f, i);
        }
        out_ += ']';
    }

    const pb_format &format_;
    std::string &out_;
};

pb::Message *parsed(const pb_type *t, const char *p, size_t n, pb::Arena *arena, pb_error *e)
{
    pb::Message *m = prototype_of(t)->New(arena);
    pb::io::ArrayInputStream in(p, n > INT_MAX ? 0 : static_cast<int>(n));
    pb::io::CodedInputStream coded(&in);
    coded.SetRecursionLimit(MAX_DEPTH);
    if (n > INT_MAX || !m->ParsePartialFromCodedStream(&coded) || !coded.ConsumedEntireMessage()) {
        say(e, "not a message of type " + m->GetDescriptor()->full_name());
        return nullptr;
    }
    return m;
}

int give(const std::string &text, pb_out *out)
{
    out->p = out->room(out->arg, text.size());
    out->n = text.size();
    memcpy(out->p, text.data(), text.size());
    return 0;
}

/* ---- google.rpc.Status ---- */

const pb_type *status_type()
{
    static const char text[] = "syntax = 'proto3';"
                               "import 'google/protobuf/any.proto';"
                               "message Status {"
                               "  int32 code = 1;"
                               "  string message = 2;"
                               "  repeated google.protobuf.Any details = 3;"
                               "}";
    static const pb_type *type = [] {
        pb_error e = {""};
        return type_find(schema_new(text, sizeof(text) - 1, &e), "Status");
    }();
    return type;
}

/* The messages inside the Any values, which say what they are in words we do not follow. */
bool write_details(const pb_type *t, const pb::Message &status, const pb_format *f,
                   std::string *text, pb_error *e)
{
    const pb::FieldDescriptor *details = status.GetDescriptor()->FindFieldByName("details");
    const pb::Reflection *r = status.GetReflection();
    *text += "\"details\":[";
    for (int i = 0; i < r->FieldSize(status, details); i++) {
        const pb::Message &any = r->GetRepeatedMessage(status, details, i);
        const std::string bytes =
            any.GetReflection()->GetString(any, any.GetDescriptor()->FindFieldByName("value"));
        pb::Arena arena;
        const pb::Message *m = parsed(t, bytes.data(), bytes.size(), &arena, e);
        if (m == nullptr) {
            return false;
        }
        *text += i ? "," : "";
        Writer(*f, text).message(*m);
    }
    *text += "]";
    return true;
}

} // namespace

int decode(const pb_type *t, const char *p, size_t n, const pb_format *f, pb_out *out, pb_error *e)
{
    pb::Arena arena;
    std::string text;
    const pb::Message *m = parsed(t, p, n, &arena, e);
    if (m == nullptr) {
        return -1;
    }
    Writer writer(*f, &text);
    writer.message(*m);
    if (writer.is_too_long()) {
        say(e, "longer than allowed as JSON");
        return -1;
    }
    return give(text, out);
}

int decode_status(const pb_type *t, const char *p, size_t n, const pb_format *f, pb_out *out,
                  pb_error *e)
{
    pb::Arena arena;
    std::string text = "{\"error\":{", details;
    pb::Message *m = parsed(status_type(), p, n, &arena, e);
    if (m == nullptr || (t && !write_details(t, *m, f, &details, e))) {
        return -1;
    }
    if (t) {
        const pb_format bare = {f->int64, PB_DEFAULTS_NONE, f->enum_as_value, f->max};
        m->GetReflection()->ClearField(m, m->GetDescriptor()->FindFieldByName("details"));
        Writer(bare, &text).members(*m);
        text += (text.back() == '{' ? "" : ",") + details;
    } else {
        Writer(*f, &text).members(*m);
    }
    text += "}}";
    return give(text, out);
}
