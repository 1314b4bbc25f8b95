/* SPDX-License-Identifier: Apache-2.0 */
/* pb_schema: schemas from the text of a .proto file or from a set of descriptors. */
#include "proto/pb_module_priv.hh"

#include <cstring>
#include <google/protobuf/compiler/parser.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <map>
#include <memory>

struct pb_schema {
    pb::DescriptorPool pool{pb::DescriptorPool::generated_pool()};
    pb::DynamicMessageFactory factory{&pool};
    std::map<std::string, pb_method> methods; /* "package.Service/Method" */
};

namespace
{

/* The first error, with its place in the text. */
class Errors : public pb::io::ErrorCollector, public pb::DescriptorPool::ErrorCollector
{
  public:
    explicit Errors(pb_error *e) : e_(e)
    {
    }
    void AddError(int line, pb::io::ColumnNumber column, const std::string &text) override
    {
        say(e_, std::to_string(line + 1) + ":" + std::to_string(column + 1) + ": " + text);
    }
    void AddError(const std::string &, const std::string &element, const pb::Message *,
                  ErrorLocation, const std::string &text) override
    {
        say(e_, element + ": " + text);
    }

  private:
    pb_error *e_;
};

/* The parser calls itself for each level. */
bool is_too_deep(const char *content, size_t n)
{
    pb::io::ArrayInputStream in(content, static_cast<int>(n));
    pb_error ignored = {""};
    Errors errors(&ignored);
    pb::io::Tokenizer tokens(&in, &errors);
    int depth = 0;
    while (depth <= MAX_DEPTH && tokens.Next()) {
        const std::string &t = tokens.current().text;
        if (t == "{" || t == "<" || t == "[") {
            depth++;
        } else if (depth > 0 && (t == "}" || t == ">" || t == "]")) {
            depth--;
        }
    }
    return depth > MAX_DEPTH;
}

bool parse_text(const char *content, size_t n, pb::FileDescriptorSet *set, pb_error *e)
{
    if (is_too_deep(content, n)) {
        return fail(e, "nested too deeply");
    }
    pb::io::ArrayInputStream in(content, static_cast<int>(n));
    Errors errors(e);
    pb::io::Tokenizer tokens(&in, &errors);
    pb::compiler::Parser parser;
    parser.RecordErrorsTo(&errors);
    pb::FileDescriptorProto *file = set->add_file();
    file->set_name("proto");
    return (parser.Parse(&tokens, file) && e->text[0] == 0) || fail(e, "not a .proto file");
}

int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : nullptr;
    return at ? static_cast<int>(at - digits) : -1;
}

bool base64_decode(const char *p, size_t n, std::string *out)
{
    unsigned bits = 0, have = 0;
    while (n > 0 && (p[n - 1] == '=' || p[n - 1] == '\n' || p[n - 1] == '\r')) {
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        const int d = base64_digit(p[i]);
        if (d < 0) {
            return false;
        }
        bits = bits << 6 | static_cast<unsigned>(d);
        have += 6;
        if (have >= 8) {
            have -= 8;
            out->push_back(static_cast<char>(bits >> have));
        }
    }
    return true;
}

void index_methods(pb_schema *s, const pb::FileDescriptor *file)
{
    for (int i = 0; i < file->service_count(); i++) {
        const pb::ServiceDescriptor *service = file->service(i);
        for (int k = 0; k < service->method_count(); k++) {
            const pb::MethodDescriptor *m = service->method(k);
            s->methods[service->full_name() + "/" + m->name()] = {
                type_of(s->factory.GetPrototype(m->input_type())),
                type_of(s->factory.GetPrototype(m->output_type())), m->client_streaming(),
                m->server_streaming()};
        }
    }
}

/* In the order in which they were put in: what a file imports stands before it, as protoc writes
 * sets. */
bool build(pb_schema *s, const pb::FileDescriptorSet &set, pb_error *e)
{
    Errors errors(e);
    for (const pb::FileDescriptorProto &proto : set.file()) {
        if (pb::DescriptorPool::generated_pool()->FindFileByName(proto.name())) {
            continue; /* google's own */
        }
        const pb::FileDescriptor *file = s->pool.BuildFileCollectingErrors(proto, &errors);
        if (file == nullptr) {
            return fail(e, proto.name() + " cannot be built");
        }
        index_methods(s, file);
    }
    return true;
}

bool read_content(const char *content, size_t n, pb::FileDescriptorSet *set, pb_error *e)
{
    std::string binary;
    if (base64_decode(content, n, &binary)) {
        return (set->ParseFromString(binary) && set->file_size() > 0) ||
               fail(e, "not a base64 encoded FileDescriptorSet");
    }
    return parse_text(content, n, set, e);
}

} // namespace

pb_schema *schema_new(const char *content, size_t n, pb_error *e)
{
    static const auto quiet = pb::SetLogHandler(nullptr); /* we say ourselves what is wrong */
    auto s = std::make_unique<pb_schema>();
    pb::FileDescriptorSet set;
    (void)quiet;
    return read_content(content, n, &set, e) && build(s.get(), set, e) ? s.release() : nullptr;
}

void schema_free(pb_schema *s)
{
    delete s;
}

const pb_method *method_find(const pb_schema *s, const char *service, const char *method)
{
    const auto at = s->methods.find(std::string(service) + "/" + method);
    return at == s->methods.end() ? nullptr : &at->second;
}

const pb_type *type_find(const pb_schema *s, const char *name)
{
    const pb::Descriptor *d = s->pool.FindMessageTypeByName(name);
    /* making prototypes is the factory's own matter, behind its lock */
    auto *factory = const_cast<pb::DynamicMessageFactory *>(&s->factory);
    return d ? type_of(factory->GetPrototype(d)) : nullptr;
}
