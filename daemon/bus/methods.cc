// The methods: read the arguments, ask access.cc, call the Operations, leave the answer to a PendingReply.
#include "bus/methods.h"

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "bus/door.h"
#include "bus/reply.h"
#include "bus/why.h"

namespace refork::bus {

namespace {

using core::Operations;

int fail(sd_bus_error* error, int code, const std::string& what) {
  return sd_bus_error_set(error, error_name(code), wire_line(what).c_str());
}

// What every method is: its body runs once its caller is known and may.
template <Action action, decltype(Request::body) body>
int method(sd_bus_message* message, void* userdata, sd_bus_error* error) noexcept {
  return guarded(error, [&] { return static_cast<Door*>(userdata)->ask(message, {action, body}, error); });
}

// `call` is given what to do with the result. Without `wait` a success is answered at once, while what failed
// at once is still answered as the failure it is.
template <class T, class Call>
int answer_later(const Caller& caller, sd_bus_message* message, bool wait, Call&& call) {
  auto reply = std::make_shared<PendingReply>(message, caller.waiting);
  try {
    call([reply](base::Result<T> result) { reply->answer(result); });
  } catch (const std::exception& problem) {
    reply->answer(base::Result<void>(base::Error{0, problem.what()}));
  }
  if (!wait && !reply->answered()) reply->answer(base::Result<void>());
  return 1;
}

// Whom a method is for: named by its first argument, or by the object it is called on.
enum class Target {
  argument,
  service,
  worker
};

template <Target where>
int read_target(sd_bus_message* message, std::string& target) {
  if constexpr (where == Target::argument) {
    const char* name = nullptr;
    const int r = sd_bus_message_read(message, "s", &name);
    if (r >= 0) target = name;
    return r;
  }
  const char* path = sd_bus_message_get_path(message);
  target = where == Target::service ? service_of(path) : std::to_string(worker_of(path));
  return 0;
}

// "stop", of the method Stop.
std::string verb_of(sd_bus_message* message) {
  std::string verb = sd_bus_message_get_member(message);
  verb[0] = static_cast<char>(verb[0] - 'A' + 'a');
  return verb;
}

void tell_who(const Caller& caller, const std::string& verb) {
  const auto uid = caller.peer.uid;
  caller.host.operations().asked(verb, uid == 0 ? "root" : "uid " + std::to_string(uid));
}

template <Target where, auto operation>
int operate(const Caller& caller, sd_bus_message* message, sd_bus_error*) {
  std::string target;
  int wait = 0;
  if (const int r = read_target<where>(message, target); r < 0) return r;
  if (const int r = sd_bus_message_read(message, "b", &wait); r < 0) return r;
  tell_who(caller, verb_of(message));
  return answer_later<void>(caller, message, wait != 0, [&](Operations::Done done) {
    (caller.host.operations().*operation)(target, std::move(done));
  });
}

template <Target where>
int scale(const Caller& caller, sd_bus_message* message, sd_bus_error*) {
  std::string target;
  std::uint32_t workers = 0;
  int wait = 0;
  if (const int r = read_target<where>(message, target); r < 0) return r;
  if (const int r = sd_bus_message_read(message, "ub", &workers, &wait); r < 0) return r;
  tell_who(caller, verb_of(message) + " " + std::to_string(workers));
  return answer_later<void>(caller, message, wait != 0, [&](Operations::Done done) {
    caller.host.operations().scale(target, workers, std::move(done));
  });
}

template <Target where>
int send(const Caller& caller, sd_bus_message* message, sd_bus_error*) {
  std::string target;
  const char* json = nullptr;
  if (const int r = read_target<where>(message, target); r < 0) return r;
  if (const int r = sd_bus_message_read(message, "s", &json); r < 0) return r;
  return answer_later<void>(caller, message, true, [&](Operations::Done done) {
    caller.host.operations().send(target, json, std::move(done));
  });
}

// One entry of ListFailures' filter.
int read_filter_entry(sd_bus_message* message, core::FailureFilter& filter, sd_bus_error* error) {
  const char* key = nullptr;
  if (const int r = sd_bus_message_read(message, "s", &key); r < 0) return r;
  const std::string name = key;
  const char* text = nullptr;
  std::uint64_t since = 0;
  if (name == "service" || name == "kind") {
    if (const int r = sd_bus_message_read(message, "v", "s", &text); r < 0) return r;
    (name == "service" ? filter.service : filter.kind) = text;
    return 0;
  }
  if (name == "since_ms") {
    const int r = sd_bus_message_read(message, "v", "t", &since);
    filter.since_ms = since;
    return r;
  }
  if (name == "limit") return sd_bus_message_read(message, "v", "u", &filter.limit);
  return fail(error, EINVAL, "unknown filter " + name + ": expected service, kind, since_ms or limit");
}

int read_filter(sd_bus_message* message, core::FailureFilter& filter, sd_bus_error* error) {
  int r = sd_bus_message_enter_container(message, 'a', "{sv}");
  if (r < 0) return r;
  while ((r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
    if ((r = read_filter_entry(message, filter, error)) < 0) return r;
    if ((r = sd_bus_message_exit_container(message)) < 0) return r;
  }
  if (r < 0) return r;
  if (filter.limit == 0 || filter.limit > max_listed_failures)
    return fail(error, EINVAL,
                "limit is " + std::to_string(filter.limit) + ", expected 1 to " +
                    std::to_string(max_listed_failures));
  return sd_bus_message_exit_container(message);
}

template <auto operation>
int list_failures(const Caller& caller, sd_bus_message* message, sd_bus_error* error) {
  core::FailureFilter filter;
  if (const int r = read_filter(message, filter, error); r < 0) return r;
  return answer_later<std::vector<std::string>>(caller, message, true, [&](auto reply) {
    (caller.host.operations().*operation)(filter, std::move(reply));
  });
}

template <Target where>
int why(const Caller& caller, sd_bus_message* message, sd_bus_error* error) {
  std::string target;
  if (const int r = read_target<where>(message, target); r < 0) return r;
  const auto why = caller.host.operations().why(target);
  if (!why) return fail(error, why.error().code, why.error().what);
  return answer_why(message, *why, caller.may(Action::read_failures));
}

int get_failure(const Caller& caller, sd_bus_message* message, sd_bus_error*) {
  const char* id = nullptr;
  if (const int r = sd_bus_message_read(message, "s", &id); r < 0) return r;
  return answer_later<std::string>(
      caller, message, true, [&](auto reply) { caller.host.operations().failure(id, std::move(reply)); });
}

int clear_failures(const Caller& caller, sd_bus_message* message, sd_bus_error*) {
  const char* service = nullptr;
  if (const int r = sd_bus_message_read(message, "s", &service); r < 0) return r;
  return answer_later<std::uint64_t>(caller, message, true, [&](auto reply) {
    caller.host.operations().clear_failures(service, std::move(reply));
  });
}

int reexec(const Caller& caller, sd_bus_message* message, sd_bus_error*) {
  return answer_later<void>(caller, message, true,
                            [&](Operations::Done done) { caller.host.operations().reexec(std::move(done)); });
}

// Generic clients greet a bus first, and tell it what they want to hear: here everybody hears everything.
int hello(sd_bus_message* message, void*, sd_bus_error*) noexcept {
  return sd_bus_reply_method_return(message, "s", ":1.1");
}
int accept_match(sd_bus_message* message, void*, sd_bus_error*) noexcept {
  return sd_bus_reply_method_return(message, "");
}

// Whoever may reach reforkd may call: the right is checked by perform().
constexpr auto anybody = SD_BUS_VTABLE_UNPRIVILEGED;

const sd_bus_vtable manager_rows[] = {
    SD_BUS_METHOD_WITH_ARGS("Start", SD_BUS_ARGS("s", service, "b", wait), SD_BUS_NO_RESULT,
                            (method<Action::operate, operate<Target::argument, &Operations::start>>),
                            anybody),
    SD_BUS_METHOD_WITH_ARGS("Stop", SD_BUS_ARGS("s", service, "b", wait), SD_BUS_NO_RESULT,
                            (method<Action::operate, operate<Target::argument, &Operations::stop>>), anybody),
    SD_BUS_METHOD_WITH_ARGS("Restart", SD_BUS_ARGS("s", service, "b", wait), SD_BUS_NO_RESULT,
                            (method<Action::operate, operate<Target::argument, &Operations::restart>>),
                            anybody),
    SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_ARGS("s", service, "b", wait), SD_BUS_NO_RESULT,
                            (method<Action::operate, operate<Target::argument, &Operations::reload>>),
                            anybody),
    SD_BUS_METHOD_WITH_ARGS("Scale", SD_BUS_ARGS("s", service, "u", workers, "b", wait), SD_BUS_NO_RESULT,
                            (method<Action::operate, scale<Target::argument>>), anybody),
    SD_BUS_METHOD_WITH_ARGS("Drain", SD_BUS_ARGS("s", target, "b", wait), SD_BUS_NO_RESULT,
                            (method<Action::operate, operate<Target::argument, &Operations::drain>>),
                            anybody),
    SD_BUS_METHOD_WITH_ARGS("Kill", SD_BUS_ARGS("s", target, "b", wait), SD_BUS_NO_RESULT,
                            (method<Action::operate, operate<Target::argument, &Operations::kill>>), anybody),
    SD_BUS_METHOD_WITH_ARGS("Send", SD_BUS_ARGS("s", target, "s", json), SD_BUS_NO_RESULT,
                            (method<Action::operate, send<Target::argument>>), anybody),
    SD_BUS_METHOD_WITH_ARGS("Why", SD_BUS_ARGS("s", target),
                            SD_BUS_RESULT("a(itsst)", conditions, "a(titisssststsxxxt)", history),
                            (method<Action::read_status, why<Target::argument>>), anybody),
    SD_BUS_METHOD_WITH_ARGS("ListFailures", SD_BUS_ARGS("a{sv}", filter), SD_BUS_RESULT("as", records),
                            (method<Action::read_failures, list_failures<&Operations::failures>>), anybody),
    SD_BUS_METHOD_WITH_ARGS("TopFailures", SD_BUS_ARGS("a{sv}", filter), SD_BUS_RESULT("as", groups),
                            (method<Action::read_failures, list_failures<&Operations::top_failures>>),
                            anybody),
    SD_BUS_METHOD_WITH_ARGS("GetFailure", SD_BUS_ARGS("s", id), SD_BUS_RESULT("s", record),
                            (method<Action::read_failures, get_failure>), anybody),
    SD_BUS_METHOD_WITH_ARGS("ClearFailures", SD_BUS_ARGS("s", service), SD_BUS_RESULT("t", removed),
                            (method<Action::administer, clear_failures>), anybody),
    SD_BUS_METHOD_WITH_ARGS("DaemonReexec", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT,
                            (method<Action::administer, reexec>), anybody),
    SD_BUS_SIGNAL_WITH_ARGS("Event",
                            SD_BUS_ARGS("t", sequence, "t", time_ms, "s", type, "s", service, "i", slot, "t",
                                        worker, "i", pid, "s", text),
                            0),
    SD_BUS_SIGNAL_WITH_ARGS("FailureRecorded",
                            SD_BUS_ARGS("s", id, "s", service, "u", slot, "s", kind, "s", fingerprint), 0),
    SD_BUS_SIGNAL_WITH_ARGS("Message", SD_BUS_ARGS("t", worker, "s", json), 0),
};

const sd_bus_vtable service_rows[] = {
    SD_BUS_METHOD_WITH_ARGS("Start", SD_BUS_ARGS("b", wait), SD_BUS_NO_RESULT,
                            (method<Action::operate, operate<Target::service, &Operations::start>>), anybody),
    SD_BUS_METHOD_WITH_ARGS("Stop", SD_BUS_ARGS("b", wait), SD_BUS_NO_RESULT,
                            (method<Action::operate, operate<Target::service, &Operations::stop>>), anybody),
    SD_BUS_METHOD_WITH_ARGS("Restart", SD_BUS_ARGS("b", wait), SD_BUS_NO_RESULT,
                            (method<Action::operate, operate<Target::service, &Operations::restart>>),
                            anybody),
    SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_ARGS("b", wait), SD_BUS_NO_RESULT,
                            (method<Action::operate, operate<Target::service, &Operations::reload>>),
                            anybody),
    SD_BUS_METHOD_WITH_ARGS("Scale", SD_BUS_ARGS("u", workers, "b", wait), SD_BUS_NO_RESULT,
                            (method<Action::operate, scale<Target::service>>), anybody),
};

const sd_bus_vtable worker_rows[] = {
    SD_BUS_METHOD_WITH_ARGS("Drain", SD_BUS_ARGS("b", wait), SD_BUS_NO_RESULT,
                            (method<Action::operate, operate<Target::worker, &Operations::drain>>), anybody),
    SD_BUS_METHOD_WITH_ARGS("Kill", SD_BUS_ARGS("b", wait), SD_BUS_NO_RESULT,
                            (method<Action::operate, operate<Target::worker, &Operations::kill>>), anybody),
    SD_BUS_METHOD_WITH_ARGS("Send", SD_BUS_ARGS("s", json), SD_BUS_NO_RESULT,
                            (method<Action::operate, send<Target::worker>>), anybody),
};

const sd_bus_vtable driver_rows[] = {
    SD_BUS_METHOD_WITH_ARGS("Hello", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", name), hello, anybody),
    SD_BUS_METHOD_WITH_ARGS("AddMatch", SD_BUS_ARGS("s", rule), SD_BUS_NO_RESULT, accept_match, anybody),
    SD_BUS_METHOD_WITH_ARGS("RemoveMatch", SD_BUS_ARGS("s", rule), SD_BUS_NO_RESULT, accept_match, anybody),
};

}  // namespace

std::span<const sd_bus_vtable> manager_methods() { return manager_rows; }
std::span<const sd_bus_vtable> service_methods() { return service_rows; }
std::span<const sd_bus_vtable> worker_methods() { return worker_rows; }
std::span<const sd_bus_vtable> driver_methods() { return driver_rows; }

}  // namespace refork::bus
