// A failure record as an untrusted worker wrote it. Structure that is wrong is refused; text that is too long
// or no text is cut and cleaned by the same rules as when it is written.

#include <cerrno>
#include <charconv>
#include <limits>
#include <utility>

#include "base/ids.h"
#include "proto/json.h"
#include "proto/record.h"

namespace refork::proto {
namespace {

constexpr std::size_t fingerprint_digits = 16;

bool is_fingerprint(std::string_view text) {
  return text.size() == fingerprint_digits && text.find_first_not_of("0123456789abcdef") == text.npos;
}

// Reads fields that may be null or missing, which both mean "does not apply".
class Optional {
 public:
  Optional(const Json& object, Fields& fields) : object_(object), fields_(fields) {}

  bool has(const char* key) { return present(key) != nullptr; }
  std::string text(const char* key) {
    return present(key) ? fields_.text(key, max_record_text) : std::string();
  }
  std::uint64_t number(const char* key, std::uint64_t max = std::numeric_limits<std::uint64_t>::max()) {
    return present(key) ? fields_.number(key, max) : 0;
  }
  std::int32_t signed32(const char* key) {
    const Json* value = present(key);
    if (value == nullptr) return 0;
    const bool fits =
        value->is_number_unsigned()
            ? std::in_range<std::int32_t>(value->get<std::uint64_t>())
            : value->is_number_integer() && std::in_range<std::int32_t>(value->get<std::int64_t>());
    if (fits) return value->get<std::int32_t>();
    fields_.wrong(key, "a whole number");
    return 0;
  }
  std::uint32_t number32(const char* key) { return present(key) ? fields_.number32(key) : 0; }
  bool flag(const char* key, bool otherwise) { return present(key) ? fields_.flag(key) : otherwise; }

  // The member if it is a list or an object, as asked for; nullptr if it is not there or wrong.
  const Json* list(const char* key) { return typed(key, Json::value_t::array, "a list"); }
  const Json* object(const char* key) { return typed(key, Json::value_t::object, "an object"); }
  std::vector<Frame> frames(const char* key);

 private:
  const Json* present(const char* key) {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  const Json* typed(const char* key, Json::value_t type, const char* expected) {
    const Json* value = present(key);
    if (value == nullptr || value->type() == type) return value;
    fields_.wrong(key, expected);
    return nullptr;
  }
  const Json& object_;
  Fields& fields_;
};

// Reads one element of a list: an object of its own, whose error becomes the list's.
template <class T, class F>
std::vector<T> objects(const Json* list, const char* key, Fields& fields, F read) {
  std::vector<T> all;
  for (std::size_t i = 0; list != nullptr && i < list->size(); ++i) {
    const Json& element = (*list)[i];
    if (!element.is_object()) {
      fields.wrong(key, "a list of objects");
      break;
    }
    Fields inner(element, key);
    Optional optional(element, inner);
    all.push_back(read(optional));
    if (const auto ok = inner.result(); !ok) fields.wrong(key, ok.error().what);
  }
  return all;
}

Cause read_cause(Optional& fields) { return {fields.text("type"), fields.text("message")}; }

Frame read_frame(Optional& fields) {
  Frame frame;
  frame.function = fields.text("function");
  frame.file = fields.text("file");
  frame.line = fields.number32("line");
  frame.module = fields.text("module");
  frame.offset = fields.number("offset");
  frame.in_app = fields.flag("in_app", false);
  return frame;
}

std::vector<Frame> Optional::frames(const char* key) {
  return objects<Frame>(list(key), key, fields_, read_frame);
}

ThreadStack read_thread(Optional& fields) {
  return {fields.number32("tid"), fields.text("name"), fields.text("request"), fields.frames("stack")};
}

std::optional<RequestRef> read_request(const Json* object, Fields& fields) {
  if (object == nullptr) return std::nullopt;
  Fields inner(*object, "request");
  Optional optional(*object, inner);
  RequestRef ref{optional.text("label"), optional.number("age_ms")};
  if (const auto ok = inner.result(); !ok) fields.wrong("request", ok.error().what);
  return ref;
}

// "0x1f"
std::uint64_t read_address(Optional& optional, Fields& fields) {
  constexpr std::string_view prefix = "0x";
  const std::string text = optional.text("address");
  if (text.empty()) return 0;
  std::uint64_t address = 0;
  const std::string digits = text.starts_with(prefix) ? text.substr(prefix.size()) : "";
  const char* end = digits.data() + digits.size();
  const auto [stop, failed] = std::from_chars(digits.data(), end, address, 16);
  if (failed != std::errc() || stop != end) fields.wrong("address", "a hexadecimal number such as \"0x1f\"");
  return address;
}

std::optional<Fault> read_fault(const Json* object, Fields& fields) {
  if (object == nullptr) return std::nullopt;
  constexpr std::uint64_t max = std::numeric_limits<std::int32_t>::max();
  Fields inner(*object, "fault");
  Optional optional(*object, inner);
  Fault fault;
  fault.signal = static_cast<int>(optional.number("signal", max));
  fault.si_code = optional.signed32("si_code");
  fault.address = read_address(optional, inner);
  fault.sender = static_cast<std::int32_t>(optional.number("sender", max));
  if (const auto ok = inner.result(); !ok) fields.wrong("fault", ok.error().what);
  return fault;
}

std::vector<std::string> read_domains(const Json* list, Fields& fields) {
  std::vector<std::string> domains;
  for (std::size_t i = 0; list != nullptr && i < list->size(); ++i) {
    if (!(*list)[i].is_string()) {
      fields.wrong("domains", "a list of names");
      break;
    }
    domains.push_back((*list)[i].get<std::string>());
  }
  return domains;
}

std::vector<std::pair<std::string, std::string>> read_context(const Json* object, Fields& fields) {
  std::vector<std::pair<std::string, std::string>> context;
  if (object == nullptr) return context;
  for (const auto& [key, value] : object->items()) {
    if (!value.is_string()) {
      fields.wrong("context", "text values");
      break;
    }
    context.emplace_back(key, value.get<std::string>());
  }
  return context;
}

std::vector<std::pair<std::string, std::string>> read_build_ids(const Json* object, Fields& fields) {
  std::vector<std::pair<std::string, std::string>> ids;
  if (object == nullptr) return ids;
  for (const auto& [module, id] : object->items()) {
    if (!id.is_string() || !is_build_id(id.get_ref<const std::string&>())) {
      fields.wrong("build_ids", "hexadecimal digits in lower case");
      break;
    }
    ids.emplace_back(module, id.get<std::string>());
  }
  return ids;
}

// Who failed, when, and how often.
void read_identity(FailureRecord& record, Fields& fields, Optional& optional) {
  record.id = fields.text("id", base::max_id);
  if (!base::is_id(record.id)) fields.wrong("id", base::id_rule);
  record.fingerprint = fields.text("fingerprint", fingerprint_digits);
  if (!is_fingerprint(record.fingerprint)) fields.wrong("fingerprint", "16 hexadecimal digits in lower case");
  record.kind = fields.name<Kind>("kind");
  record.then = fields.name<Then>("then");
  record.revision = fields.number32("revision");
  record.time_ms = fields.number("time_ms");
  record.count = fields.number("count");
  record.service = optional.text("service");
  record.slot = optional.number32("slot");
  record.worker = optional.number("worker");
  record.pid = static_cast<std::int32_t>(optional.number("pid", std::numeric_limits<std::int32_t>::max()));
}

// What failed, and in which circumstances.
void read_error(FailureRecord& record, Fields& fields, Optional& optional) {
  record.type = optional.text("type");
  record.message = optional.text("message");
  record.causes = objects<Cause>(optional.list("causes"), "causes", fields, read_cause);
  record.domain = optional.text("domain");
  record.domains = read_domains(optional.list("domains"), fields);
  record.thrown = optional.flag("thrown", true);
  record.emitter = optional.text("emitter");
  record.bound = optional.text("bound");
  record.rethrown = optional.flag("rethrown", false);
  record.request = read_request(optional.object("request"), fields);
  record.context = read_context(optional.object("context"), fields);
  record.stack = optional.frames("stack");
  record.build_ids = read_build_ids(optional.object("build_ids"), fields);
  if (optional.has("in_flight_at_failure"))
    record.in_flight_at_failure = optional.number("in_flight_at_failure");
}

// What is known of the process as a whole.
void read_process(FailureRecord& record, Fields& fields, Optional& optional) {
  record.fault = read_fault(optional.object("fault"), fields);
  record.threads = objects<ThreadStack>(optional.list("threads"), "threads", fields, read_thread);
  record.output_tail = optional.text("output_tail");
  record.unnamed = optional.flag("unnamed", false);
}

}  // namespace

base::Result<FailureRecord> decode_record(std::string_view text) {
  if (text.size() > max_record_text)
    return base::Error{EMSGSIZE, "a failure record is at most " + std::to_string(max_record_text) + " bytes"};
  const auto json = parse_json(text, "a failure record");
  if (!json) return json.error();
  if (!json->is_object()) return base::Error{EBADMSG, "a failure record is a JSON object"};
  Fields fields(*json, "a failure record");
  Optional optional(*json, fields);
  FailureRecord record;
  read_identity(record, fields, optional);
  read_error(record, fields, optional);
  read_process(record, fields, optional);
  if (const auto read = fields.result(); !read) return read.error();
  return within_limits(std::move(record));
}

}  // namespace refork::proto
