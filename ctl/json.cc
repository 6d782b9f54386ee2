// JSON in and out; the only part of reforkctl that knows a JSON library.
#include "ctl/json.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace refork::ctl {

namespace {

using Json = nlohmann::ordered_json;

// What does not apply is null.
template <class T>
Json or_null(const T& value) {
  return value == T{} ? Json() : Json(value);
}

Json to_json(const Worker& worker) {
  const bool there = worker.id != 0;
  return {{"id", or_null(worker.id)},
          {"slot", worker.slot},
          {"pid", there ? Json(worker.pid) : Json()},
          {"state", worker.state},
          {"generation", worker.generation},
          {"in_flight", worker.in_flight},
          {"served", worker.served},
          {"tainted", worker.tainted},
          {"started_ms", or_null(worker.started_ms)},
          {"rss_bytes", worker.rss_bytes},
          {"deadline_ms", or_null(worker.deadline_ms)},
          {"next_start_ms", or_null(worker.next_start_ms)},
          {"why", or_null(worker.why)}};
}

Json to_json(const Service& service) {
  Json workers = Json::array();
  for (const auto& worker : service.workers) workers.push_back(to_json(worker));
  return {{"name", service.name},         {"state", service.state},       {"generation", service.generation},
          {"wanted", service.wanted},     {"failures", service.failures}, {"restarts", service.restarts},
          {"listen", service.listen},     {"log", or_null(service.log)},  {"why", or_null(service.why)},
          {"workers", std::move(workers)}};
}

Json to_json(const Daemon& daemon) {
  return {{"version", daemon.version},
          {"pid", daemon.pid},
          {"started_ms", daemon.started_ms},
          {"rss_bytes", daemon.rss_bytes},
          {"config", daemon.config},
          {"store",
           {{"state", daemon.store.state},
            {"why", or_null(daemon.store.why)},
            {"path", or_null(daemon.store.path)},
            {"waiting", daemon.store.waiting},
            {"dropped", daemon.store.dropped}}}};
}

// What is -1 where it does not apply.
template <class T>
Json or_none(T value) {
  return value < 0 ? Json() : Json(value);
}

Json to_json(const Condition& condition) {
  return {{"slot", or_none(condition.slot)},
          {"worker", or_null(condition.worker)},
          {"kind", condition.kind},
          {"text", condition.text},
          {"until_ms", or_null(condition.until_ms)}};
}

Json to_json(const HistoryEntry& entry) {
  return {{"time_ms", entry.time_ms},
          {"slot", or_none(entry.slot)},
          {"worker", or_null(entry.worker)},
          {"pid", or_null(entry.pid)},
          {"what", entry.what},
          {"text", or_null(entry.text)},
          {"detail", or_null(entry.detail)},
          {"failure", or_null(entry.failure)},
          {"instead_of", or_null(entry.instead_of)},
          {"by", or_null(entry.by)},
          {"waited_ms", entry.waited_for.empty() ? Json() : Json(entry.waited_ms)},
          {"waited_for", or_null(entry.waited_for)},
          {"duration_ms", or_none(entry.duration_ms)},
          {"completed", or_none(entry.completed)},
          {"cut", or_none(entry.cut)},
          {"count", entry.count}};
}

std::string print(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

// Reading: a record may come from another version, so that everything may be missing or of another type.
template <class T>
void read(const Json& object, const char* name, T& value) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return;
  if constexpr (std::is_same_v<T, std::string>) {
    if (found->is_string()) value = found->template get<std::string>();
  } else if constexpr (std::is_same_v<T, bool>) {
    if (found->is_boolean()) value = found->template get<bool>();
  } else {
    if (found->is_number_integer()) value = found->template get<T>();
  }
}

template <class Each>
void for_each(const Json& object, const char* name, Each&& each) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_array()) return;
  for (const auto& item : *found)
    if (item.is_object()) each(item);
}

template <class T, class To>
void read_object(const Json& object, const char* name, T& value, To&& to) {
  if (const auto found = object.find(name); found != object.end() && found->is_object()) value = to(*found);
}

void read_strings(const Json& object, const char* name, std::vector<std::string>& strings) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_array()) return;
  for (const auto& item : *found)
    if (item.is_string()) strings.push_back(item.get<std::string>());
}

Frame to_frame(const Json& json) {
  Frame frame;
  read(json, "function", frame.function);
  read(json, "file", frame.file);
  read(json, "line", frame.line);
  read(json, "module", frame.module);
  read(json, "offset", frame.offset);
  read(json, "in_app", frame.in_app);
  return frame;
}

std::vector<Frame> to_stack(const Json& json) {
  std::vector<Frame> stack;
  for_each(json, "stack", [&](const Json& frame) { stack.push_back(to_frame(frame)); });
  return stack;
}

Request to_request(const Json& json) {
  Request request;
  read(json, "label", request.label);
  read(json, "age_ms", request.age_ms);
  request.stack = to_stack(json);
  return request;
}

Fault to_fault(const Json& json) {
  Fault fault;
  read(json, "signal", fault.signal);
  read(json, "si_code", fault.si_code);
  read(json, "address", fault.address);
  read(json, "sender", fault.sender);
  return fault;
}

Thread to_thread(const Json& json) {
  Thread thread;
  read(json, "tid", thread.tid);
  read(json, "name", thread.name);
  read(json, "request", thread.request);
  thread.stack = to_stack(json);
  return thread;
}

Failure::Drain to_drain(const Json& json) {
  Failure::Drain drain;
  read(json, "requested", drain.requested);
  read(json, "outcome", drain.outcome);
  read(json, "duration_ms", drain.duration_ms);
  read(json, "completed", drain.completed);
  read(json, "crossed", drain.crossed);
  drain.counted = !json.contains("cut") || !json["cut"].is_null();
  for_each(json, "cut", [&](const Json& cut) { drain.cut.push_back(to_request(cut)); });
  return drain;
}

template <class Number>
void read_optional(const Json& json, const char* name, std::optional<Number>& value) {
  if (const auto found = json.find(name); found != json.end() && found->is_number_integer())
    value = found->get<Number>();
}

Failure::Exit to_exit(const Json& json) {
  Failure::Exit exit;
  read_optional(json, "code", exit.code);
  read_optional(json, "signal", exit.signal);
  read(json, "core", exit.core);
  read(json, "core_file", exit.core_file);
  return exit;
}

void read_circumstances(const Json& json, Failure& failure) {
  read_object(json, "request", failure.request, to_request);
  read_object(json, "drain", failure.drain, to_drain);
  read_object(json, "exit", failure.exit, to_exit);
  read_strings(json, "domains", failure.domains);
  if (const auto it = json.find("context"); it != json.end() && it->is_object())
    for (const auto& [key, value] : it->items())
      failure.context.emplace_back(key, value.is_string() ? value.get<std::string>() : print(value));
  failure.stack = to_stack(json);
  read_object(json, "fault", failure.fault, to_fault);
  for_each(json, "threads", [&](const Json& item) { failure.threads.push_back(to_thread(item)); });
  for_each(json, "causes", [&](const Json& item) {
    Cause cause;
    read(item, "type", cause.type);
    read(item, "message", cause.message);
    failure.causes.push_back(std::move(cause));
  });
}

}  // namespace

std::string status_json(const Status& status) {
  Json services = Json::array();
  for (const auto& service : status.services) services.push_back(to_json(service));
  return print({{"daemon", to_json(status.daemon)}, {"services", std::move(services)}}, 2) + "\n";
}

std::string why_json(const Why& why) {
  Json conditions = Json::array(), history = Json::array(), workers = Json::array();
  for (const auto& worker : why.service.workers)
    if (why.slot < 0 || static_cast<std::int64_t>(worker.slot) == why.slot)
      workers.push_back(to_json(worker));
  for (const auto& condition : why.conditions) conditions.push_back(to_json(condition));
  for (const auto& entry : why.history) history.push_back(to_json(entry));
  return print({{"service", why.service.name},
                {"slot", or_none(why.slot)},
                {"state", why.service.state},
                {"workers", std::move(workers)},
                {"conditions", std::move(conditions)},
                {"history", std::move(history)}},
               2) +
         "\n";
}

std::string event_json(const Event& event) {
  return print({{"sequence", event.sequence},
                {"time_ms", event.time_ms},
                {"type", event.type},
                {"service", or_null(event.service)},
                {"slot", event.slot < 0 ? Json() : Json(event.slot)},
                {"worker", or_null(event.worker)},
                {"pid", or_null(event.pid)},
                {"text", event.text}}) +
         "\n";
}

std::string log_line_json(const LogLine& line) {
  return print({{"time_ms", or_null(line.time_ms)},
                {"source", line.source},
                {"slot", or_none(line.slot)},
                {"worker", or_null(line.worker)},
                {"pid", or_null(line.pid)},
                {"event", or_null(line.event)},
                {"text", line.text}}) +
         "\n";
}

std::string message_json(std::uint64_t worker, std::string_view json) {
  const Json body = Json::parse(json, nullptr, false);
  return print({{"type", "message"}, {"worker", worker}, {"message", body.is_discarded() ? Json() : body}}) +
         "\n";
}

std::string failures_json(const std::vector<std::string>& records) {
  std::string out = "[";
  for (std::size_t i = 0; i < records.size(); ++i) out += (i == 0 ? "\n" : ",\n") + records[i];
  return out + (records.empty() ? "]\n" : "\n]\n");
}

base::Result<Failure> parse_failure(std::string_view record) {
  const Json json = Json::parse(record, nullptr, false);
  if (!json.is_object()) return base::Error{EBADMSG, "reforkd sent a record that is no JSON object"};
  Failure failure;
  read(json, "id", failure.id);
  read(json, "time_ms", failure.time_ms);
  read(json, "service", failure.service);
  read(json, "slot", failure.slot);
  read(json, "worker", failure.worker);
  read(json, "pid", failure.pid);
  read(json, "kind", failure.kind);
  read(json, "type", failure.type);
  read(json, "message", failure.message);
  read(json, "domain", failure.domain);
  read(json, "emitter", failure.emitter);
  read(json, "bound", failure.bound);
  read(json, "thrown", failure.thrown);
  read(json, "rethrown", failure.rethrown);
  read(json, "then", failure.then);
  read(json, "fingerprint", failure.fingerprint);
  read(json, "count", failure.count);
  read_optional(json, "in_flight_at_failure", failure.in_flight);
  read(json, "output_tail", failure.output_tail);
  read(json, "unnamed", failure.unnamed);
  read_circumstances(json, failure);
  return failure;
}

base::Result<FailureGroup> parse_group(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return base::Error{EBADMSG, "reforkd sent a group that is no JSON object"};
  FailureGroup group;
  read(json, "fingerprint", group.fingerprint);
  read(json, "count", group.count);
  read(json, "records", group.records);
  read(json, "first_ms", group.first_ms);
  read(json, "last_ms", group.last_ms);
  read_strings(json, "services", group.services);
  read(json, "kind", group.kind);
  read(json, "type", group.type);
  read(json, "message", group.message);
  if (const auto it = json.find("where"); it != json.end() && it->is_object()) group.where = to_frame(*it);
  read(json, "id", group.id);
  return group;
}

bool is_json(std::string_view text) { return Json::accept(text); }

}  // namespace refork::ctl
