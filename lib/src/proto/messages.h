#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

#include "base/enum_names.h"
#include "base/result.h"
#include "proto/record.h"
#include "refork/worker.hpp"

// What reforkd and its workers say to each other; PROTOCOL.md is the same in prose. One JSON object a packet.
namespace refork::proto {

inline constexpr std::uint32_t protocol_version = 1;
inline constexpr std::size_t max_packet = 65536;           // bytes
inline constexpr std::size_t max_app_message = 60 * 1024;  // bytes of the JSON inside a `message`

// Where a worker is in its life, as reforkd sees it; also the column of legal states below.
enum class WorkerState {
  starting,  // forked, not ready yet
  standby,   // ready, but not given any connections yet
  serving,
  draining,  // finishes what it has, by its deadline
  killing,   // SIGKILL was sent; the process is not gone yet
};

struct Hello {  // first message of a worker
  std::uint32_t protocol_min = protocol_version, protocol_max = protocol_version;
  std::string library;  // librefork's version
};
struct Welcome {  // its answer
  std::uint32_t protocol = protocol_version;
  std::string service;
  std::uint32_t slot = 0;
  std::uint64_t worker = 0;
  std::uint32_t generation = 1;
  std::uint32_t drain_deadline_ms = 30000;
  std::uint32_t lame_duck_ms = 1000;
  std::uint32_t watchdog_ms = 0;         // how long a thread that beats may be silent; 0: nobody looks
  std::uint32_t request_timeout_ms = 0;  // how long a request may take; 0: as long as it likes
  Then orphans = Then::drain;            // what to do when the channel ends: nobody comes back
};
struct Ready {};
struct FailureNote {  // a nudge: the record itself stands in the flight recorder
  std::string id;
  Then then = Then::drain;
};
enum class Verdict {
  drain,
  serve
};
struct VerdictGiven {
  std::string id;  // of the FailureNote it answers
  Verdict verdict = Verdict::drain;
  std::uint32_t deadline_ms = 0;  // from now; 0 with `serve`
};
struct DrainOrder {  // also ends the `serve` of a tainted worker
  DrainReason reason = DrainReason::operator_;
  std::uint32_t deadline_ms = 30000;
};
struct DrainBegun {  // the worker drains by itself: it was told by SIGTERM, or its application asked
  DrainReason reason = DrainReason::operator_;
};
struct Disconnect {       // the last message: the process ends now
  bool deadline = false;  // because its time was up
};
struct Crash {             // a fatal signal; the flight recorder tells of it
  bool contained = false;  // the other threads finish what they have, then it dies of the signal
};
struct Timeouts {};  // a nudge: requests have timeouts of their own, which the flight recorder tells
struct AppMessage {
  std::string body;  // one JSON value, passed on as it is
};

using Message = std::variant<Hello, Welcome, Ready, FailureNote, VerdictGiven, DrainOrder, DrainBegun,
                             Disconnect, Crash, Timeouts, AppMessage>;

enum class MessageType {
  hello,
  welcome,
  ready,
  failure,
  verdict,
  drain,
  draining,
  disconnect,
  crash,
  timeouts,
  message
};
enum class Direction {
  to_primary,
  to_worker,
  both
};

}  // namespace refork::proto

namespace refork::base {
template <>
struct EnumNames<proto::WorkerState> {
  static constexpr std::array<std::string_view, 5> names = {"starting", "standby", "serving", "draining",
                                                            "killing"};
};
template <>
struct EnumNames<proto::MessageType> {
  static constexpr std::array<std::string_view, 11> names = {"hello",   "welcome",  "ready",    "failure",
                                                             "verdict", "drain",    "draining", "disconnect",
                                                             "crash",   "timeouts", "message"};
};
template <>
struct EnumNames<proto::Verdict> {
  static constexpr std::array<std::string_view, 2> names = {"drain", "serve"};
};
template <>
struct EnumNames<DrainReason> {
  static constexpr std::array<std::string_view, 5> names = {"error", "operator", "reload", "recycle", "stop"};
};
}  // namespace refork::base

namespace refork::proto {

using States = std::uint8_t;  // a set of WorkerState
constexpr States states(std::initializer_list<WorkerState> list) {
  States set = 0;
  for (const auto s : list) set = static_cast<States>(set | (1u << base::index(s)));
  return set;
}
inline constexpr States any_state = 0x1f;
inline constexpr States not_yet_serving =
    states({WorkerState::starting, WorkerState::draining, WorkerState::killing});

// The message table: name, direction, the sender's (or receiver's) legal states, most bytes, descriptors
// carried.
struct MessageSpec {
  MessageType type;
  Direction direction;
  States legal;
  std::size_t max_size;
  std::size_t max_fds;
};

inline constexpr std::array<MessageSpec, base::enum_count<MessageType>> message_table = {{
    // A worker may be told to go before it said anything: what was under way meanwhile is legal.
    {MessageType::hello, Direction::to_primary, not_yet_serving, 1024, 0},
    {MessageType::welcome, Direction::to_worker, not_yet_serving, 1024, 0},
    {MessageType::ready, Direction::to_primary, not_yet_serving, 256, 0},
    // A failing start-up may still report; a failure in a drain is recorded and changes nothing else.
    {MessageType::failure, Direction::to_primary, any_state, 256, 0},
    {MessageType::verdict, Direction::to_worker, any_state, 256, 0},
    {MessageType::drain, Direction::to_worker, any_state, 256, 0},
    {MessageType::draining, Direction::to_primary, any_state, 256, 0},
    {MessageType::disconnect, Direction::to_primary, any_state, 256, 0},
    {MessageType::crash, Direction::to_primary, any_state, 256, 0},
    {MessageType::timeouts, Direction::to_primary, any_state, 256, 0},
    {MessageType::message, Direction::both, any_state, max_packet, 0},
}};
static_assert(std::variant_size_v<Message> == base::enum_count<MessageType>);

constexpr const MessageSpec& spec(MessageType type) { return message_table[base::index(type)]; }
inline MessageType type_of(const Message& message) { return static_cast<MessageType>(message.index()); }

// Whether `json` may be the body of an AppMessage; EMSGSIZE, or EBADMSG with a sentence for whoever wrote it.
base::Result<void> check_app_body(std::string_view json);

// Pure. A body that check_app_body() refuses is encoded as null. decode() checks everything
// that can be checked without knowing the sender's state: it is the worker's word.
std::string encode(const Message& message);
base::Result<Message> decode(std::string_view packet);

}  // namespace refork::proto
