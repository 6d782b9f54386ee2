// The shape of a failure record and of a worker's end as JSON. What is too long for its place is cut here,
// least important things first; reading one back is record_decode.cc.

#include "proto/record.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>

#include "base/utf8.h"
#include "proto/json.h"

namespace refork::proto {
namespace {

using base::Controls;

void line(std::string& text) { text = base::utf8_clean(text, Controls::drop, max_value); }
void prose(std::string& text) { text = base::utf8_clean(text, Controls::keep_layout, max_message); }
void type_name(std::string& text) { text = base::utf8_clean(text, Controls::drop, max_type); }

template <class T>
void keep_first(std::vector<T>& list, std::size_t limit) {
  if (list.size() > limit) list.erase(list.begin() + static_cast<std::ptrdiff_t>(limit), list.end());
}

void clean(std::vector<Frame>& stack) {
  keep_first(stack, max_frames);
  for (auto& frame : stack)
    for (auto* text : {&frame.function, &frame.file, &frame.module}) line(*text);
}

Json or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

Json frame(const Frame& frame) {
  return {{"function", or_null(frame.function)},
          {"file", or_null(frame.file)},
          {"line", frame.line == 0 ? Json() : Json(frame.line)},
          {"module", or_null(frame.module)},
          {"offset", frame.offset},
          {"in_app", frame.in_app}};
}

Json cause(const Cause& cause) { return {{"type", cause.type}, {"message", cause.message}}; }

template <class T, class F>
Json array_of(const std::vector<T>& list, F to_json) {
  Json array = Json::array();
  for (const auto& item : list) array.push_back(to_json(item));
  return array;
}

Json request(const RequestRef& ref) { return {{"label", ref.label}, {"age_ms", ref.age_ms}}; }

Json cut_request(const RequestRef& ref) {
  Json json = request(ref);
  if (!ref.stack.empty()) json["stack"] = array_of(ref.stack, frame);
  return json;
}

Json thread_stack(const ThreadStack& thread) {
  return {{"tid", thread.tid},
          {"name", or_null(thread.name)},
          {"request", or_null(thread.request)},
          {"stack", array_of(thread.stack, frame)}};
}

// An address as text: JSON's numbers are not exact beyond 2^53 everywhere.
Json fault_of(const Fault& fault) {
  char address[19];
  std::snprintf(address, sizeof address, "0x%llx", static_cast<unsigned long long>(fault.address));
  return {{"signal", fault.signal},
          {"si_code", fault.si_code},
          {"address", address},
          {"sender", fault.sender == 0 ? Json() : Json(fault.sender)}};
}

Json context_of(const FailureRecord& record) {
  Json context = Json::object();
  for (const auto& [key, value] : record.context) context[key] = value;
  return context;
}

Json build_ids_of(const FailureRecord& record) {
  Json ids = Json::object();
  for (const auto& [module, id] : record.build_ids) ids[module] = id;
  return ids;
}

Json to_json(const FailureRecord& record) {
  Json json;
  json["id"] = record.id;
  json["revision"] = record.revision;
  json["time_ms"] = record.time_ms;
  json["service"] = or_null(record.service);
  json["slot"] = record.slot;
  json["worker"] = record.worker;
  json["pid"] = record.pid;
  json["kind"] = base::to_name(record.kind);
  json["type"] = or_null(record.type);
  json["message"] = or_null(record.message);
  json["causes"] = array_of(record.causes, cause);
  json["domain"] = or_null(record.domain);
  json["domains"] = record.domains;
  json["thrown"] = record.thrown;
  json["emitter"] = or_null(record.emitter);
  json["bound"] = or_null(record.bound);
  json["rethrown"] = record.rethrown;
  json["request"] = record.request ? request(*record.request) : Json();
  json["context"] = context_of(record);
  json["stack"] = array_of(record.stack, frame);
  json["build_ids"] = build_ids_of(record);
  json["fingerprint"] = record.fingerprint;
  json["count"] = record.count;
  json["in_flight_at_failure"] = record.in_flight_at_failure ? Json(*record.in_flight_at_failure) : Json();
  json["then"] = base::to_name(record.then);
  json["fault"] = record.fault ? fault_of(*record.fault) : Json();
  json["threads"] = record.threads.empty() ? Json() : array_of(record.threads, thread_stack);
  json["output_tail"] = or_null(record.output_tail);
  json["unnamed"] = record.unnamed;
  return json;
}

// What may be shortened, the least important first. Each step halves one thing and says whether there was
// anything left of it to take.
template <class List>
bool halve(List& list) {
  if (list.empty()) return false;
  list.erase(list.begin() + static_cast<std::ptrdiff_t>(list.size() / 2), list.end());
  return true;
}

bool shorten(std::string& text, std::size_t least) {
  if (text.size() <= least) return false;
  text = base::utf8_clean(text, Controls::keep_layout, std::max(least, text.size() / 2));
  return true;
}

constexpr std::size_t short_text = 64;

constexpr std::size_t short_stack = 8, few_threads = 8;  // kept as long as something else can go

// Only of modules that a stack names.
void keep_needed(FailureRecord& record) {
  const auto names = [](const std::vector<Frame>& stack, const std::string& module) {
    return std::ranges::find(stack, module, &Frame::module) != stack.end();
  };
  std::erase_if(record.build_ids, [&](const auto& entry) {
    return !names(record.stack, entry.first) &&
           std::ranges::none_of(record.threads, [&](const auto& t) { return names(t.stack, entry.first); });
  });
}

// The deepest stacks lose their older half.
bool halve_deepest(std::vector<ThreadStack>& threads, std::size_t least) {
  std::size_t deepest = 0;
  for (const auto& thread : threads) deepest = std::max(deepest, thread.stack.size());
  if (deepest <= least) return false;
  for (auto& thread : threads) keep_first(thread.stack, std::max(deepest / 2, least));
  return true;
}

bool keep_end(std::string& text, std::size_t least) {
  if (text.size() <= least) return false;
  text = output_end(text, max_output_lines, std::max(least, text.size() / 2));
  return true;
}

bool cut_threads(FailureRecord& record, std::size_t least, std::size_t frames) {
  const bool cut =
      halve_deepest(record.threads, frames) || (record.threads.size() > least && halve(record.threads));
  if (cut) keep_needed(record);
  return cut;
}

bool cut_something(FailureRecord& record) {
  if (halve(record.context)) return true;
  if (cut_threads(record, few_threads, short_stack)) return true;
  if (keep_end(record.output_tail, max_value)) return true;
  if (halve(record.stack)) return keep_needed(record), true;
  if (cut_threads(record, 0, 0) || keep_end(record.output_tail, 0)) return true;
  if (shorten(record.message, max_value)) return true;
  if (halve(record.causes) || halve(record.domains)) return true;
  for (auto* text :
       {&record.type, &record.message, &record.domain, &record.emitter, &record.bound, &record.service})
    if (shorten(*text, short_text)) return true;
  return record.request && shorten(record.request->label, short_text);
}

}  // namespace

FailureRecord within_limits(FailureRecord record) {
  for (auto* text :
       {&record.id, &record.service, &record.domain, &record.emitter, &record.bound, &record.fingerprint})
    line(*text);
  type_name(record.type);
  prose(record.message);
  keep_first(record.causes, max_causes);
  for (auto& cause : record.causes) type_name(cause.type), prose(cause.message);
  keep_first(record.domains, max_domains);
  for (auto& domain : record.domains) line(domain);
  if (record.request) line(record.request->label);
  keep_first(record.context, max_context);
  for (auto& [key, value] : record.context) line(key), line(value);
  clean(record.stack);
  keep_first(record.threads, max_threads);
  for (auto& thread : record.threads) {
    thread.name = base::utf8_clean(thread.name, Controls::drop, max_thread_name);
    line(thread.request);
    clean(thread.stack);
  }
  record.output_tail = output_end(record.output_tail, max_output_lines, max_output_tail);
  for (auto& [module, id] : record.build_ids) line(module);
  std::erase_if(record.build_ids, [](const auto& entry) { return !is_build_id(entry.second); });
  keep_needed(record);
  keep_first(record.build_ids, max_build_ids);
  return record;
}

std::string output_end(std::string_view text, std::size_t lines, std::size_t bytes) {
  // A byte that is no text becomes three.
  std::string clean = base::utf8_clean(text, Controls::keep_layout, 3 * text.size() + 3);
  while (!clean.empty() && clean.back() == '\n') clean.pop_back();
  std::size_t begin = clean.size();
  for (; lines > 0 && begin > 0; --lines) {
    const std::size_t end_before = begin < 2 ? clean.npos : clean.rfind('\n', begin - 2);
    begin = end_before == clean.npos ? 0 : end_before + 1;
  }
  if (clean.size() - begin > bytes) {
    begin = clean.size() - bytes;
    const std::size_t end_before = clean.find('\n', begin - 1);
    if (end_before < clean.size() - 1) begin = end_before + 1;  // otherwise the end of one long line
    while (begin < clean.size() && base::utf8_sequence(std::string_view(clean).substr(begin)) == 0) ++begin;
  }
  return clean.substr(begin);
}

bool is_build_id(std::string_view text) noexcept {
  return !text.empty() && text.size() <= max_build_id && text.size() % 2 == 0 &&
         text.find_first_not_of("0123456789abcdef") == text.npos;
}

std::string encode(const FailureRecord& record, std::size_t limit) {
  FailureRecord less = within_limits(record);
  std::string text = print_json(to_json(less));
  while (text.size() > limit && cut_something(less)) text = print_json(to_json(less));
  return text;
}

std::string encode_drain(const Outcome& outcome) {
  const bool drained = !outcome.outcome.empty();
  std::vector<RequestRef> cut = outcome.cut;
  for (auto& ref : cut) line(ref.label), clean(ref.stack);
  const Json json = {{"requested", or_null(outcome.requested)},
                     {"outcome", or_null(outcome.outcome)},
                     {"duration_ms", drained ? Json(outcome.duration_ms) : Json()},
                     {"completed", drained && outcome.counted ? Json(outcome.completed) : Json()},
                     {"crossed", outcome.counted ? Json(outcome.crossed) : Json()},
                     {"cut", outcome.counted ? array_of(cut, cut_request) : Json()}};
  return print_json(json);
}

std::string encode_exit(const Outcome& outcome) {
  const Json json = {{"code", outcome.exit_code ? Json(*outcome.exit_code) : Json()},
                     {"signal", outcome.exit_signal ? Json(*outcome.exit_signal) : Json()},
                     {"core", outcome.core},
                     {"core_file", or_null(outcome.core_file)}};
  return print_json(json);
}

}  // namespace refork::proto
