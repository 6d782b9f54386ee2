// From checked values to the daemon's own structures. A key that is not given leaves the structure's default;
// a test compares those with the schema's.
#include "config/build.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include "config/config.h"

namespace refork::config {
namespace {

using Kind = Value::Kind;

constexpr unsigned max_port = 65535;
constexpr std::string_view unix_prefix = "unix:";
constexpr std::size_t max_socket_path = 107;  // bytes, of a sockaddr_un

// Set by reforkd for every worker.
constexpr std::array<std::string_view, 11> reserved_environment = {
    "LISTEN_FDS",     "LISTEN_FDNAMES", "LISTEN_PID",    "NOTIFY_SOCKET", "REFORK_CHANNEL", "REFORK_RECORDER",
    "REFORK_SERVICE", "REFORK_SLOT",    "REFORK_WORKER", "WATCHDOG_PID",  "WATCHDOG_USEC"};

void read(const Value& value, bool& out) {
  if (value.kind == Kind::boolean) out = value.boolean;
}

void read(const Value& value, std::uint32_t& out) {
  if (value.kind == Kind::integer) out = static_cast<std::uint32_t>(value.integer);
}

void read(const Value& value, std::uint64_t& out) {
  if (value.kind == Kind::integer) out = static_cast<std::uint64_t>(value.integer);
}

void read(const Value& value, std::string& out) {
  if (value.kind == Kind::string) out = value.text;
}

void read(const Value& value, core::Millis& out) {
  if (const auto duration = parse_duration(value.text); value.kind == Kind::string && duration)
    out = *duration;
}

void read(const Value& value, std::chrono::hours& out) {
  core::Millis exact = out;
  read(value, exact);
  out = std::chrono::ceil<std::chrono::hours>(exact);
}

void read(const Value& value, std::vector<std::string>& out) {
  for (const Value& item : value.items) read(item, out.emplace_back());
}

template <class E>
requires std::is_enum_v<E>
void read(const Value& value, E& out) {
  if (const auto known = base::from_name<E>(value.text); value.kind == Kind::string && known) out = *known;
}

template <class T>
void read(const Value& value, std::optional<T>& out) {
  if (value.kind != Kind::null) read(value, out.emplace());
}

template <class T>
void read_key(const Value& object, std::string_view key, T& out) {
  if (const Value* value = object.find(key)) read(*value, out);
}

// Lists of two.
template <class A, class B>
void read_pair(const Value& object, std::string_view key, A& first, B& second) {
  const Value* pair = object.find(key);
  if (!pair || pair->items.size() != 2) return;
  read(pair->items[0], first);
  read(pair->items[1], second);
}

class Builder {
 public:
  explicit Builder(ProblemList& problems) : problems_(problems) {}

  core::DaemonConfig daemon(const Value& root) {
    core::DaemonConfig config;
    if (const Value* services = root.find("services"))
      for (const Value::Member& member : services->members) config.services.push_back(service(member));
    if (const Value* store = root.find("store")) {
      read_key(*store, "max_failures", config.store.max_failures);
      read_key(*store, "max_age", config.store.max_age);
    }
    return config;
  }

 private:
  core::ServiceConfig service(const Value::Member& member) {
    const Value& from = member.value;
    core::ServiceConfig to;
    to.name = member.key;
    read_key(from, "command", to.command);
    read_key(from, "workers", to.workers);
    read_key(from, "floor", to.floor);
    read_key(from, "ready", to.ready);
    read_key(from, "listen", to.listen);
    read_key(from, "nonblocking", to.nonblocking);
    read_key(from, "user", to.user);
    read_key(from, "directory", to.directory);
    read_key(from, "start_timeout", to.start_timeout);
    read_key(from, "drain_deadline", to.drain_deadline);
    read_key(from, "lame_duck", to.lame_duck);
    read_key(from, "watchdog", to.watchdog);
    read_key(from, "request_timeout", to.request_timeout);
    read_key(from, "orphans", to.orphans);
    read_key(from, "core_dumps", to.core_dumps);
    read_key(from, "log", to.log);
    if (const Value* names = from.find("redact")) {
      read(*names, to.redact.emplace());
      std::erase(*to.redact, "");  // what an option without a value says
    }
    if (const Value* environment = from.find("environment"))
      for (const Value::Member& variable : environment->members)
        read(variable.value, to.environment[variable.key]);
    if (const Value* limits = from.find("limits")) read_limits(*limits, to.limits);
    if (const Value* restart = from.find("restart")) read_restart(*restart, to.restart);
    if (const Value* reload = from.find("reload")) read_key(*reload, "probation", to.reload.probation);
    if (const Value* recycle = from.find("recycle")) read_recycle(*recycle, to.recycle);
    cross_check(from, to, join("services", member.key));
    return to;
  }

  static void read_limits(const Value& from, std::vector<core::Limit>& to) {
    for (const Value::Member& limit : from.members) {
      to.push_back({limit.key, std::nullopt});
      if (limit.value.kind == Kind::integer) read(limit.value, to.back().value.emplace());
    }
  }

  static void read_restart(const Value& from, core::ServiceConfig::Restart& to) {
    read_key(from, "policy", to.policy);
    read_pair(from, "backoff", to.backoff_min, to.backoff_max);
    read_pair(from, "budget", to.budget, to.budget_window);
    if (const Value* give_up = from.find("give_up"); give_up && give_up->kind == Kind::integer)
      read(*give_up, to.give_up.emplace());
  }

  static void read_recycle(const Value& from, core::ServiceConfig::Recycle& to) {
    read_key(from, "requests", to.requests);
    read_key(from, "age", to.age);
    if (const Value* memory = from.find("memory"); memory && memory->kind == Kind::string)
      if (const auto bytes = parse_size(memory->text)) to.memory = *bytes;
  }

  void cross_check(const Value& from, const core::ServiceConfig& to, const std::string& path) {
    if (!to.command.empty() && to.command[0].empty() && from.find("command")->items[0].kind == Kind::string)
      problems_.add(from.find("command")->items[0].at, path + ".command[0]",
                    "expected a program, found \"\"");
    check_floor(from, to, path);
    if (const Value* listen = from.find("listen")) check_listen(*listen, path + ".listen");
    if (const Value* environment = from.find("environment"))
      check_environment(*environment, path + ".environment");
    if (const Value* restart = from.find("restart")) check_backoff(*restart, to.restart, path + ".restart");
  }

  void check_floor(const Value& from, const core::ServiceConfig& to, const std::string& path) {
    const Value* floor = from.find("floor");
    const Value* workers = from.find("workers");
    if (!floor || floor->kind != Kind::integer || (workers && workers->kind != Kind::integer)) return;
    const std::int64_t most = workers ? workers->integer : to.workers;
    if (floor->integer > most)
      problems_.add(
          floor->at, path + ".floor",
          "expected at most the number of workers, " + std::to_string(most) + ", found " + floor->text);
  }

  void check_listen(const Value& listen, const std::string& path) {
    for (std::size_t i = 0; i < listen.items.size(); ++i) {
      const Value& address = listen.items[i];
      const std::string here = path + "[" + std::to_string(i) + "]";
      if (address.kind == Kind::string) check_address(address, here);
    }
  }

  // The schema's pattern leaves the port's size, the path's length, and whether somebody else has the
  // address.
  void check_address(const Value& address, const std::string& path) {
    unsigned port = 1;
    if (address.text.rfind("tcp://", 0) == 0) {
      const char* digits = address.text.data() + address.text.rfind(':') + 1;
      std::from_chars(digits, address.text.data() + address.text.size(), port);
    }
    if (port > max_port)
      problems_.add(address.at, path, "expected a port from 0 to 65535, found " + in_quotes(address.text));
    if (address.text.rfind(unix_prefix, 0) == 0 && address.text.size() > unix_prefix.size() + max_socket_path)
      problems_.add(address.at, path,
                    "expected a socket's path of at most " + std::to_string(max_socket_path) +
                        " bytes, found " + std::to_string(address.text.size() - unix_prefix.size()) + " in " +
                        in_quotes(address.text));
    if (port == 0) return;  // the kernel chooses: never the same twice
    const auto [owner, fresh] = listened_.emplace(address.text, path);
    if (!fresh)
      problems_.add(address.at, path,
                    in_quotes(address.text) + " is already listened on by " + owner->second);
  }

  void check_environment(const Value& environment, const std::string& path) {
    for (const Value::Member& variable : environment.members) {
      const auto* end = reserved_environment.end();
      if (std::find(reserved_environment.begin(), end, variable.key) != end)
        problems_.add(variable.at, join(path, variable.key), "reforkd sets this variable itself");
    }
  }

  void check_backoff(const Value& restart, const core::ServiceConfig::Restart& to, const std::string& path) {
    const Value* backoff = restart.find("backoff");
    if (backoff && backoff->items.size() == 2 && to.backoff_min > to.backoff_max)
      problems_.add(backoff->at, path + ".backoff",
                    "expected the shorter duration first, found " + backoff->items[0].text + " before " +
                        backoff->items[1].text);
  }

  ProblemList& problems_;
  std::map<std::string, std::string> listened_;  // address -> path
};

}  // namespace

core::DaemonConfig build(const Value& root, ProblemList& problems) { return Builder(problems).daemon(root); }

}  // namespace refork::config
