// What each command does: ask reforkd, show the answer, choose the exit code.
#include "ctl/commands.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "base/words.h"
#include "ctl/check_config.h"
#include "ctl/client.h"
#include "ctl/json.h"
#include "ctl/logs.h"
#include "ctl/render.h"

namespace refork::ctl {

namespace {

using base::Error;

int complain(const Console& console, const std::string& what, int code) {
  console.err("reforkctl: " + escape(what) + "\n");
  return code;
}

// The daemon said no, or went away.
int refuse(const Console& console, const Error& error) {
  return complain(console, error.what, error.code == EACCES ? Exit::denied : Exit::failed);
}

int no_way_in(const Console& console, const std::string& path, const Error& error) {
  if (error.code == ECONNRESET) return refuse(console, error);  // somebody is there, but has no room
  if (error.code == EACCES || error.code == EPERM)
    return complain(console,
                    "access to " + path + " denied: " + error.what +
                        ". Only root, the user of reforkd and members of the group refork may",
                    Exit::denied);
  return complain(console,
                  "no reforkd at " + path + ": " + error.what + ". Is it running? (systemctl status reforkd)",
                  Exit::no_daemon);
}

int no_service(const Console& console, const std::string& name, const std::vector<Service>& services) {
  std::vector<std::string> known;
  for (const auto& service : services) known.push_back(service.name);
  return complain(console, base::no_service(name, known), Exit::failed);
}

int show_status(Client& client, const Invocation& call, const Console& console) {
  auto status = client.status();
  if (!status) return refuse(console, status.error());
  int code = Exit::ok;
  if (!call.target.empty()) {
    auto found = std::ranges::find(status->services, call.target, &Service::name);
    if (found == status->services.end()) return no_service(console, call.target, status->services);
    if (found->state == "stopped") code = Exit::stopped;
    status->services = {std::move(*found)};
  }
  console.out(call.json ? status_json(*status) : render_status(*status, console.view));
  return code;
}

int show_why(Client& client, const Invocation& call, const Console& console) {
  const auto why = client.why(call.target);
  if (!why) return refuse(console, why.error());
  console.out(call.json ? why_json(*why) : render_why(*why, console.view));
  return Exit::ok;
}

// Nothing for a service can mean that there is none of that name; records of one that was removed from the
// configuration are still shown.
std::optional<int> check_service(Client& client, const std::string& name, const Console& console) {
  if (name.empty()) return std::nullopt;
  const auto status = client.status();
  if (!status) return refuse(console, status.error());
  if (std::ranges::find(status->services, name, &Service::name) != status->services.end())
    return std::nullopt;
  return no_service(console, name, status->services);
}

using Ask = base::Result<std::vector<std::string>> (Client::*)(const FailureFilter&);

// Asks for a list, reads each of its items, and shows them.
template <class Item>
int list_of(Client& client, const Invocation& call, const Console& console, Ask ask,
            base::Result<Item> (*parse)(std::string_view),
            std::string (*render)(const std::vector<Item>&, const View&)) {
  FailureFilter filter = call.filter;
  if (!call.since.empty()) {
    const auto since = parse_since(call.since, console.view.now_ms);
    if (!since) return complain(console, since.error().what, Exit::usage);
    filter.since_ms = *since;
  }
  const auto answer = (client.*ask)(filter);
  if (!answer) return refuse(console, answer.error());
  if (answer->empty())
    if (const auto code = check_service(client, filter.service, console)) return *code;
  if (call.json) {
    console.out(failures_json(*answer));
    return Exit::ok;
  }
  std::vector<Item> items;
  for (const auto& text : *answer) {
    auto item = parse(text);
    if (!item) return refuse(console, item.error());
    items.push_back(std::move(*item));
  }
  console.out(render(items, console.view));
  return Exit::ok;
}

int show_failure(Client& client, const Invocation& call, const Console& console) {
  const auto record = client.failure(call.target);
  if (!record) return refuse(console, record.error());
  if (call.json) {
    console.out(*record + "\n");
    return Exit::ok;
  }
  const auto failure = parse_failure(*record);
  if (!failure) return refuse(console, failure.error());
  console.out(render_failure(*failure, console.view));
  return Exit::ok;
}

int clear_failures(Client& client, const Invocation& call, const Console& console) {
  const auto removed = client.clear_failures(call.target);
  if (!removed) return refuse(console, removed.error());
  if (*removed == 0)
    if (const auto code = check_service(client, call.target, console)) return *code;
  console.out(call.json ? "{\"removed\":" + std::to_string(*removed) + "}\n"
                        : "Removed " + count_of(*removed, "record") + ".\n");
  return Exit::ok;
}

// Is this event about what we wait for? TARGET is SERVICE, SERVICE/SLOT or a worker's id.
bool concerns(const Event& event, const std::string& target) {
  const std::string service = target.substr(0, target.find('/'));
  return event.service == service || (event.worker != 0 && std::to_string(event.worker) == target);
}

int operate(Client& client, const Invocation& call, const Console& console) {
  if (call.operation.verb == "Send" && !is_json(call.operation.json))
    return complain(console, "send: the message is no JSON: " + call.operation.json, Exit::usage);
  const bool progress = console.progress && call.operation.wait && !call.json;
  View line = console.view;
  line.width = line.width > 1 ? line.width - 1 : 79;
  Client::OnEvent on_event;
  if (progress)
    on_event = [&](const Event& event) {
      if (!concerns(event, call.operation.target)) return;
      std::string text = render_event(event, line);
      text.pop_back();
      console.err("\r\033[K" + text);
    };
  const auto result = client.operate(call.operation, on_event);
  if (progress) console.err("\r\033[K");
  if (!result) return refuse(console, result.error());
  const std::string outcome = call.operation.wait ? "done" : "accepted";
  if (call.json)
    console.out("{\"result\":\"" + outcome + "\"}\n");
  else if (progress)
    console.err(escape(call.operation.target) + ": " + call.name + " " + outcome + "\n");
  return Exit::ok;
}

// A reforkd that is started again, or executes itself anew, is back by then.
constexpr std::chrono::seconds back_within{5};
constexpr std::chrono::milliseconds ask_again{100};

// Whether one that lets us in answers at the socket in time.
base::Result<Client> connect_again(const std::string& path) {
  const auto deadline = std::chrono::steady_clock::now() + back_within;
  for (;;) {
    auto next = Client::connect(path);
    auto there = next ? next->ping() : base::Result<void>(next.error());
    if (there) return next;
    if (std::chrono::steady_clock::now() >= deadline) return there.error();
    std::this_thread::sleep_for(ask_again);
  }
}

// One that is started again and again is not followed for ever.
class Returns {
 public:
  bool too_many(std::chrono::steady_clock::time_point now) {
    if (now - first_ > returns_window) first_ = now, count_ = 0;
    return ++count_ > most_returns;
  }

 private:
  static constexpr std::chrono::seconds returns_window{60};
  static constexpr int most_returns = 10;
  std::chrono::steady_clock::time_point first_;
  int count_ = 0;
};

// Goes on with the next reforkd where one ends: what happens between the two is not seen.
int follow_events(Client& client, const Invocation& call, const Console& console) {
  std::uint64_t left = call.count.value_or(UINT64_MAX);
  View view = console.view;
  const auto show = [&](const std::string& line) {
    console.out(line);
    return --left > 0;
  };
  Client::FollowMessage on_message;
  if (call.messages)
    on_message = [&](std::uint64_t worker, std::string_view json) {
      return show(call.json ? message_json(worker, json) : render_message(worker, json, view));
    };
  const auto on_event = [&](const Event& event) {
    return show(call.json ? event_json(event) : render_event(event, view));
  };
  auto result = client.follow(on_event, on_message);
  Returns returns;
  while (!result && result.error().code == ECONNRESET) {
    if (returns.too_many(std::chrono::steady_clock::now()))
      return complain(console, "reforkd ends again and again; its log says why", Exit::failed);
    complain(console, "reforkd closed the connection; waiting for it to come back", Exit::failed);
    auto next = connect_again(call.control);
    if (!next) return no_way_in(console, call.control, next.error());
    complain(console, "reforkd is back", Exit::failed);
    result = next->follow(on_event, on_message);
  }
  return result ? int{Exit::ok} : refuse(console, result.error());
}

// Done once the new one answers.
int reexec(Client& client, const std::string& path, const Console& console) {
  if (const auto done = client.reexec(); !done) return refuse(console, done.error());
  auto next = Client::connect(path);
  if (!next) return no_way_in(console, path, next.error());
  const auto answers = next->status();
  return answers ? int{Exit::ok} : refuse(console, answers.error());
}

int perform(Client& client, const Invocation& call, const Console& console) {
  switch (call.command) {
    case Command::status:
      return show_status(client, call, console);
    case Command::why:
      return show_why(client, call, console);
    case Command::failures_list:
      return list_of<Failure>(client, call, console, &Client::failures, parse_failure, render_failures);
    case Command::failures_top:
      return list_of<FailureGroup>(client, call, console, &Client::top_failures, parse_group, render_top);
    case Command::failures_show:
      return show_failure(client, call, console);
    case Command::failures_clear:
      return clear_failures(client, call, console);
    case Command::operate:
      return operate(client, call, console);
    case Command::events:
      return follow_events(client, call, console);
    case Command::logs:
      return show_logs(client, call, console);
    case Command::daemon_reexec:
      return reexec(client, call.control, console);
    case Command::check_config:
      break;
  }
  return Exit::usage;
}

}  // namespace

int run(const Invocation& call, const Console& console) {
  if (call.command == Command::check_config) return check_config(call, console);
  Console here = console;
  here.view.now_ms = console.now_ms();
  Invocation there = call;
  if (there.control.empty()) there.control = default_control();
  auto client = Client::connect(there.control);
  if (!client) return no_way_in(here, there.control, client.error());
  return perform(*client, there, here);
}

}  // namespace refork::ctl
