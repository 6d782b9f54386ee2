// The messages of the channel as JSON and back. Pure: it knows each message's fields and limits, but not who
// sent it or whether it was legal then; that is the table's and the receiver's business.

#include <cerrno>
#include <cstddef>
#include <type_traits>

#include "base/ids.h"
#include "base/utf8.h"
#include "proto/json.h"
#include "proto/messages.h"

namespace refork::proto {
namespace {

constexpr std::size_t max_version_text = 64;  // librefork's version in `hello`
constexpr std::size_t max_service_name = 63;  // as in the flight recorder's identity
constexpr std::size_t max_shown_name = 32;    // of an unknown message, in the error

void write(Json& json, const Hello& hello) {
  json["protocol_min"] = hello.protocol_min;
  json["protocol_max"] = hello.protocol_max;
  json["library"] = hello.library;
}
void write(Json& json, const Welcome& welcome) {
  json["protocol"] = welcome.protocol;
  json["service"] = welcome.service;
  json["slot"] = welcome.slot;
  json["worker"] = welcome.worker;
  json["generation"] = welcome.generation;
  json["drain_deadline_ms"] = welcome.drain_deadline_ms;
  json["lame_duck_ms"] = welcome.lame_duck_ms;
  json["watchdog_ms"] = welcome.watchdog_ms;
  json["request_timeout_ms"] = welcome.request_timeout_ms;
  json["orphans"] = base::to_name(welcome.orphans);
}
void write(Json&, const Ready&) {}
void write(Json&, const Timeouts&) {}
void write(Json& json, const FailureNote& note) {
  json["id"] = note.id;
  json["then"] = base::to_name(note.then);
}
void write(Json& json, const VerdictGiven& given) {
  json["id"] = given.id;
  json["verdict"] = base::to_name(given.verdict);
  json["deadline_ms"] = given.deadline_ms;
}
void write(Json& json, const DrainOrder& order) {
  json["reason"] = base::to_name(order.reason);
  json["deadline_ms"] = order.deadline_ms;
}
void write(Json& json, const DrainBegun& begun) { json["reason"] = base::to_name(begun.reason); }
void write(Json& json, const Disconnect& disconnect) { json["deadline"] = disconnect.deadline; }
void write(Json& json, const Crash& crash) { json["contained"] = crash.contained; }

Message read_hello(Fields& fields) {
  Hello hello;
  hello.protocol_min = fields.number32("protocol_min");
  hello.protocol_max = fields.number32("protocol_max");
  hello.library = fields.text("library", max_version_text);
  if (hello.protocol_max < hello.protocol_min) fields.wrong("protocol_max", "at least protocol_min");
  return hello;
}

Message read_welcome(Fields& fields) {
  Welcome welcome;
  welcome.protocol = fields.number32("protocol");
  welcome.service = fields.text("service", max_service_name);
  welcome.slot = fields.number32("slot");
  welcome.worker = fields.number("worker");
  welcome.generation = fields.number32("generation");
  welcome.drain_deadline_ms = fields.number32("drain_deadline_ms");
  welcome.lame_duck_ms = fields.number32("lame_duck_ms");
  welcome.watchdog_ms = fields.number32("watchdog_ms");
  welcome.request_timeout_ms = fields.number32("request_timeout_ms");
  welcome.orphans = fields.name<Then>("orphans");
  return welcome;
}

std::string read_id(Fields& fields) {
  std::string id = fields.text("id", base::max_id);
  if (!base::is_id(id)) fields.wrong("id", base::id_rule);
  return id;
}

Message read_ready(Fields&) { return Ready{}; }
Message read_failure(Fields& fields) {
  FailureNote note;
  note.id = read_id(fields);
  note.then = fields.name<Then>("then");
  return note;
}
Message read_verdict(Fields& fields) {
  VerdictGiven given;
  given.id = read_id(fields);
  given.verdict = fields.name<Verdict>("verdict");
  given.deadline_ms = fields.number32("deadline_ms");
  return given;
}
Message read_drain(Fields& fields) {
  DrainOrder order;
  order.reason = fields.name<DrainReason>("reason");
  order.deadline_ms = fields.number32("deadline_ms");
  return order;
}
Message read_draining(Fields& fields) { return DrainBegun{fields.name<DrainReason>("reason")}; }
Message read_disconnect(Fields& fields) { return Disconnect{fields.flag("deadline")}; }
Message read_crash(Fields& fields) { return Crash{fields.flag("contained")}; }

Message read_timeouts(Fields&) { return Timeouts{}; }

using Read = Message (*)(Fields&);
constexpr std::array<Read, base::enum_count<MessageType> - 1> readers = {
    read_hello, read_welcome,  read_ready,      read_failure, read_verdict,
    read_drain, read_draining, read_disconnect, read_crash,   read_timeouts};
static_assert(base::index(MessageType::message) == readers.size(),
              "`message` is read from the text, not the fields");

base::Result<Message> read_app_message(std::string_view packet, const Json& json) {
  const auto body = json.find("body");
  if (body == json.end()) return base::Error{EBADMSG, "\"message\" has no \"body\""};
  const auto raw = raw_member(packet, "body");
  AppMessage message{raw.empty() ? print_json(*body) : std::string(raw)};
  if (message.body.size() > max_app_message)
    return base::Error{
        EMSGSIZE, "the body of a \"message\" is larger than " + std::to_string(max_app_message) + " bytes"};
  return Message(std::move(message));
}

base::Error unknown_message(const Json& json) {
  const auto name = json.find("m");
  if (name == json.end() || !name->is_string()) return {EBADMSG, "a message without a name: expected \"m\""};
  return {EBADMSG,
          "there is no message \"" +
              base::utf8_clean(name->get_ref<const std::string&>(), base::Controls::drop, max_shown_name) +
              "\""};
}

}  // namespace

base::Result<void> check_app_body(std::string_view json) {
  if (json.size() > max_app_message)
    return base::Error{EMSGSIZE,
                       "an application message is at most " + std::to_string(max_app_message) + " bytes"};
  // One level less than a message may have: it stands inside one.
  const auto value = parse_json(json, "an application message", max_depth - 1);
  return value ? base::Result<void>() : value.error();
}

std::string encode(const Message& message) {
  if (const auto* app = std::get_if<AppMessage>(&message))
    return "{\"m\":\"message\",\"body\":" + (check_app_body(app->body) ? app->body : std::string("null")) +
           "}";
  Json json;
  json["m"] = base::to_name(type_of(message));
  std::visit(
      [&json](const auto& body) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(body)>, AppMessage>) write(json, body);
      },
      message);
  return print_json(json);
}

base::Result<Message> decode(std::string_view packet) {
  if (packet.size() > max_packet)
    return base::Error{EMSGSIZE, "a message is at most " + std::to_string(max_packet) + " bytes"};
  const auto json = parse_json(packet, "a message");
  if (!json) return json.error();
  if (!json->is_object()) return base::Error{EBADMSG, "a message is a JSON object"};
  const auto named = json->find("m");
  const auto type = named != json->end() && named->is_string()
                        ? base::from_name<MessageType>(named->get_ref<const std::string&>())
                        : std::nullopt;
  if (!type) return unknown_message(*json);
  const std::string what = "\"" + std::string(base::to_name(*type)) + "\"";
  if (packet.size() > spec(*type).max_size)
    return base::Error{EMSGSIZE, what + " is at most " + std::to_string(spec(*type).max_size) + " bytes"};
  if (*type == MessageType::message) return read_app_message(packet, *json);
  Fields fields(*json, what);
  Message message = readers[base::index(*type)](fields);
  if (const auto read = fields.result(); !read) return read.error();
  return message;
}

}  // namespace refork::proto
