// The connection to reforkd: sd-bus over the private socket, without a bus daemon. Knows the names of the API
// and nothing of how its answers are shown.
#include "ctl/client.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/unique_fd.h"
#include "ctl/decode.h"

namespace refork::ctl {

namespace {

using base::errno_error;
using base::Error;
using base::Result;

constexpr const char* manager_path = "/org/refork1";
constexpr const char* manager_interface = "org.refork1.Manager";
// Long enough for a busy daemon; one that is stopped is not waited for longer.
constexpr std::uint64_t call_timeout_us = 25'000'000;
constexpr std::uint64_t no_timeout = UINT64_MAX;

class CallError {
 public:
  CallError() = default;
  CallError(const CallError&) = delete;
  CallError& operator=(const CallError&) = delete;
  ~CallError() { sd_bus_error_free(&error_); }
  sd_bus_error* operator&() { return &error_; }
  const sd_bus_error* get() const { return &error_; }

 private:
  sd_bus_error error_{};
};

// What went wrong with the connection itself.
Error transport_error(int code) {
  switch (code) {
    case ECONNRESET:
    case ENOTCONN:
    case EPIPE:
    case ESHUTDOWN:
      return {ECONNRESET, "reforkd closed the connection"};
    case ETIMEDOUT:
      return {ETIMEDOUT, "reforkd does not answer"};
    default:
      return errno_error("control connection", code);
  }
}

Error remote_error(const sd_bus_error* error) {
  static constexpr std::array<std::pair<const char*, int>, 7> codes = {{
      {SD_BUS_ERROR_ACCESS_DENIED, EACCES},
      {"org.refork1.Error.NotFound", ENOENT},
      {"org.refork1.Error.Invalid", EINVAL},
      {"org.refork1.Error.Busy", EBUSY},
      {"org.refork1.Error.Canceled", ECANCELED},
      {"org.refork1.Error.Timeout", ETIMEDOUT},
      {"org.refork1.Error.Failed", EIO},
  }};
  for (const auto& [name, code] : codes)
    if (std::strcmp(error->name, name) == 0) return {code, error->message ? error->message : name};
  if (sd_bus_error_has_name(error, SD_BUS_ERROR_NO_REPLY)) return transport_error(ECONNRESET);
  // sd-bus gives the connection's own troubles the form of an error from the other side.
  const int code = sd_bus_error_get_errno(error);
  for (const int lost : {ECONNRESET, ENOTCONN, EPIPE, ESHUTDOWN, ETIMEDOUT})
    if (code == lost) return transport_error(code);
  return {code, error->message ? error->message : error->name};
}

}  // namespace

struct Client::Subscription {
  Follow on_event;
  FollowMessage on_message;
  bool more = true;
};

struct Client::Answer {
  bool arrived = false;
  Result<void> result;
};

Result<Client> Client::connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Error{ENAMETOOLONG, std::strerror(ENAMETOOLONG)};
  std::memcpy(address.sun_path, path.data(), path.size());
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || ::connect(fd.get(), static_cast<const sockaddr*>(static_cast<const void*>(&address)),
                       sizeof address) < 0)
    return Error{errno, std::strerror(errno)};
  sd_bus* made = nullptr;
  int r = sd_bus_new(&made);
  if (r < 0) return transport_error(-r);
  BusPtr bus(made);
  r = sd_bus_set_fd(made, fd.get(), fd.get());
  if (r < 0) return transport_error(-r);
  fd.release();  // closed with the bus
  r = sd_bus_start(made);
  if (r < 0) return transport_error(-r);
  return Client(std::move(bus));
}

Result<Client::MessagePtr> Client::new_call(const char* path, const char* interface, const char* method) {
  sd_bus_message* message = nullptr;
  const int r = sd_bus_message_new_method_call(bus_.get(), &message, nullptr, path, interface, method);
  if (r < 0) return transport_error(-r);
  return MessagePtr(message);
}

Result<Client::MessagePtr> Client::call(sd_bus_message* message) {
  CallError error;
  sd_bus_message* reply = nullptr;
  const int r = sd_bus_call(bus_.get(), message, call_timeout_us, &error, &reply);
  if (r >= 0) return MessagePtr(reply);
  return sd_bus_error_is_set(error.get()) ? remote_error(error.get()) : transport_error(-r);
}

Result<Status> Client::status() {
  auto properties = new_call(manager_path, "org.freedesktop.DBus.Properties", "GetAll");
  if (!properties) return properties.error();
  if (const int r = sd_bus_message_append(properties->get(), "s", manager_interface); r < 0)
    return transport_error(-r);
  auto daemon = call(properties->get());
  if (!daemon) return daemon.error();
  auto question = new_call(manager_path, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects");
  if (!question) return question.error();
  auto objects = call(question->get());
  if (!objects) return objects.error();

  Status status;
  int r = read_daemon(daemon->get(), status.daemon);
  if (r >= 0) r = read_managed_objects(objects->get(), status.services);
  if (r < 0) return transport_error(-r);
  return status;
}

Result<Why> Client::why(const std::string& target) {
  auto question = new_call(manager_path, manager_interface, "Why");
  if (!question) return question.error();
  int r = sd_bus_message_append(question->get(), "s", target.c_str());
  if (r < 0) return transport_error(-r);
  auto reply = call(question->get());
  if (!reply) return reply.error();
  auto now = status();
  if (!now) return now.error();
  Why why;
  if ((r = read_why(reply->get(), why)) < 0) return transport_error(-r);
  const auto slash = target.rfind('/');
  const auto found = std::ranges::find(now->services, target.substr(0, slash), &Service::name);
  if (found == now->services.end()) return Error{ENOENT, "no service " + target};
  why.service = std::move(*found);
  if (slash != std::string::npos) why.slot = std::stoi(target.substr(slash + 1));  // reforkd knew it
  return why;
}

Result<std::vector<std::string>> Client::failures(const FailureFilter& filter) {
  return list("ListFailures", filter);
}

Result<std::vector<std::string>> Client::top_failures(const FailureFilter& filter) {
  return list("TopFailures", filter);
}

Result<std::vector<std::string>> Client::list(const char* method, const FailureFilter& filter) {
  auto question = new_call(manager_path, manager_interface, method);
  if (!question) return question.error();
  sd_bus_message* const m = question->get();
  int r = sd_bus_message_open_container(m, 'a', "{sv}");
  if (r >= 0 && !filter.service.empty())
    r = sd_bus_message_append(m, "{sv}", "service", "s", filter.service.c_str());
  if (r >= 0 && !filter.kind.empty()) r = sd_bus_message_append(m, "{sv}", "kind", "s", filter.kind.c_str());
  if (r >= 0 && filter.since_ms) r = sd_bus_message_append(m, "{sv}", "since_ms", "t", *filter.since_ms);
  if (r >= 0) r = sd_bus_message_append(m, "{sv}", "limit", "u", filter.limit);
  if (r >= 0) r = sd_bus_message_close_container(m);
  if (r < 0) return transport_error(-r);
  auto reply = call(m);
  if (!reply) return reply.error();
  std::vector<std::string> records;
  if ((r = read_strings(reply->get(), records)) < 0) return transport_error(-r);
  return records;
}

Result<std::string> Client::failure(const std::string& id) {
  auto question = new_call(manager_path, manager_interface, "GetFailure");
  if (!question) return question.error();
  int r = sd_bus_message_append(question->get(), "s", id.c_str());
  if (r < 0) return transport_error(-r);
  auto reply = call(question->get());
  if (!reply) return reply.error();
  const char* record = nullptr;
  if ((r = sd_bus_message_read(reply->get(), "s", &record)) < 0) return transport_error(-r);
  return std::string(record);
}

Result<std::uint64_t> Client::clear_failures(const std::string& service) {
  auto question = new_call(manager_path, manager_interface, "ClearFailures");
  if (!question) return question.error();
  int r = sd_bus_message_append(question->get(), "s", service.c_str());
  if (r < 0) return transport_error(-r);
  auto reply = call(question->get());
  if (!reply) return reply.error();
  std::uint64_t removed = 0;
  if ((r = sd_bus_message_read(reply->get(), "t", &removed)) < 0) return transport_error(-r);
  return removed;
}

Result<void> Client::reexec() {
  auto question = new_call(manager_path, manager_interface, "DaemonReexec");
  if (!question) return question.error();
  const auto reply = call(question->get());
  return reply ? Result<void>() : reply.error();
}

Result<void> Client::operate(const Operation& operation, const OnEvent& on_event) {
  auto question = new_call(manager_path, manager_interface, operation.verb.c_str());
  if (!question) return question.error();
  sd_bus_message* const m = question->get();
  int r = sd_bus_message_append(m, "s", operation.target.c_str());
  if (r >= 0 && operation.verb == "Scale") r = sd_bus_message_append(m, "u", operation.workers);
  if (r >= 0 && operation.verb == "Send") r = sd_bus_message_append(m, "s", operation.json.c_str());
  if (r >= 0 && operation.verb != "Send") r = sd_bus_message_append(m, "b", int{operation.wait});
  if (r < 0) return transport_error(-r);

  Subscription subscription;
  if (on_event) subscription.on_event = [&](const Event& event) { return on_event(event), true; };
  auto events = subscribe("Event", on_event_signal, subscription);
  if (!events) return events.error();
  Answer answer;
  sd_bus_slot* slot = nullptr;
  r = sd_bus_call_async(bus_.get(), &slot, m, on_answer, &answer,
                        operation.wait ? no_timeout : call_timeout_us);
  if (r < 0) return transport_error(-r);
  const SlotPtr pending(slot);
  if (auto processed = process_until([&] { return answer.arrived; }); !processed) return processed;
  return answer.result;
}

Result<void> Client::follow(const Follow& on_event, const FollowMessage& on_message) {
  Subscription subscription{on_event, on_message, true};
  auto events = subscribe("Event", on_event_signal, subscription);
  if (!events) return events.error();
  auto messages = subscribe("Message", on_message_signal, subscription);
  if (!messages) return messages.error();
  if (auto there = ping(); !there) return there;
  return process_until([&] { return !subscription.more; });
}

// Is somebody there who lets us in? Signals come only once this is known.
Result<void> Client::ping() {
  auto question = new_call(manager_path, "org.freedesktop.DBus.Peer", "Ping");
  if (!question) return question.error();
  auto reply = call(question->get());
  if (!reply) return reply.error();
  return {};
}

// Without a sender in the match: between two peers no message carries one.
Result<Client::SlotPtr> Client::subscribe(const char* signal, sd_bus_message_handler_t handler,
                                          Subscription& to) {
  sd_bus_slot* slot = nullptr;
  const int r =
      sd_bus_match_signal(bus_.get(), &slot, nullptr, manager_path, manager_interface, signal, handler, &to);
  if (r < 0) return transport_error(-r);
  return SlotPtr(slot);
}

Result<void> Client::process_until(const std::function<bool()>& done) {
  while (!done()) {
    int r = sd_bus_process(bus_.get(), nullptr);
    if (r == 0) r = sd_bus_wait(bus_.get(), UINT64_MAX);
    if (r == -EINTR) continue;
    if (r < 0) return done() ? Result<void>() : transport_error(-r);
  }
  return {};
}

int Client::on_event_signal(sd_bus_message* message, void* userdata, sd_bus_error*) noexcept {
  try {
    auto& to = *static_cast<Subscription*>(userdata);
    Event event;
    if (to.more && to.on_event && read_event(message, event) >= 0) to.more = to.on_event(event);
  } catch (...) {
    return -ENOMEM;
  }
  return 0;
}

int Client::on_message_signal(sd_bus_message* message, void* userdata, sd_bus_error*) noexcept {
  try {
    auto& to = *static_cast<Subscription*>(userdata);
    std::uint64_t worker = 0;
    const char* json = nullptr;
    if (to.more && to.on_message && sd_bus_message_read(message, "ts", &worker, &json) > 0)
      to.more = to.on_message(worker, json);
  } catch (...) {
    return -ENOMEM;
  }
  return 0;
}

int Client::on_answer(sd_bus_message* message, void* userdata, sd_bus_error*) noexcept {
  auto& answer = *static_cast<Answer*>(userdata);
  answer.arrived = true;
  try {
    if (const sd_bus_error* error = sd_bus_message_get_error(message)) answer.result = remote_error(error);
  } catch (...) {
    return -ENOMEM;
  }
  return 0;
}

}  // namespace refork::ctl
