// `reforkctl logs`: reforkd says where a service's output goes, and it is read there, with the rights of
// whoever asks.
#include "ctl/logs.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "base/words.h"
#include "ctl/journal.h"
#include "ctl/json.h"
#include "ctl/log_file.h"
#include "ctl/render.h"

namespace refork::ctl {

namespace {

constexpr std::uint64_t shown_by_default = 50;     // lines
constexpr std::string_view file_prefix = "file:";  // of a service's `log`

int complain(const Console& console, const std::string& what, int code) {
  console.err("reforkctl: " + escape(what) + "\n");
  return code;
}

struct Target {
  std::string service;
  std::int32_t slot = -1;
};

base::Result<Target> parse_target(const std::string& text) {
  const auto slash = text.find('/');
  Target target{text.substr(0, slash)};
  if (slash == std::string::npos) return target;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + slash + 1, end, target.slot);
  if (parsed.ec != std::errc() || parsed.ptr != end || target.slot < 0)
    return base::Error{EINVAL, "\"" + text + "\": expected SERVICE or SERVICE/SLOT"};
  return target;
}

std::set<std::int32_t> pids_of(const Service& service, std::int32_t slot) {
  std::set<std::int32_t> pids;
  for (const auto& worker : service.workers)
    if (worker.id != 0 && static_cast<std::int32_t>(worker.slot) == slot) pids.insert(worker.pid);
  return pids;
}

int show_journal(const Target& target, const Service& service, std::uint64_t since_ms, const Invocation& call,
                 const Console& console) {
  auto journal = Journal::open(target.service, target.slot, pids_of(service, target.slot));
  if (!journal) return complain(console, journal.error().what, Exit::failed);
  const auto show = [&](const LogLine& line) {
    console.out(call.json ? log_line_json(line) : render_log_line(line, console.view));
  };
  const auto shown = journal->show_last(call.count.value_or(shown_by_default), since_ms, show);
  if (!shown) return complain(console, shown.error().what, Exit::failed);
  int code = Exit::ok;
  if (*shown == 0 && ::geteuid() != 0)
    code = complain(console,
                    "the journal shows nothing of it to you; root and members of the groups systemd-journal "
                    "and adm may read all of it",
                    Exit::denied);
  if (!call.follow) return code;
  const auto ended = journal->follow(show);
  return ended ? int{Exit::ok} : complain(console, ended.error().what, Exit::failed);
}

int show_file(const Target& target, const std::string& path, const Invocation& call, const Console& console) {
  if (target.slot >= 0)
    return complain(console,
                    "all workers of " + target.service + " write to " + path +
                        ", and no line says of which slot it is; ask for " + target.service,
                    Exit::failed);
  if (!call.since.empty())
    return complain(console, "--since: the lines of " + path + " have no time that reforkctl knows",
                    Exit::failed);
  auto file = LogFile::open(path);
  if (!file) return complain(console, file.error().what, Exit::failed);
  const auto show = [&](std::string_view text) {
    LogLine line;
    line.source = target.service;
    line.text = text;
    console.out(call.json ? log_line_json(line) : render_log_line(line, console.view));
  };
  auto read = file->show_last(call.count.value_or(shown_by_default), show);
  while (read && call.follow) {
    file->wait();
    read = file->show_new(show);
  }
  return read ? int{Exit::ok} : complain(console, read.error().what, Exit::failed);
}

int show_elsewhere(const Service& service, const Console& console) {
  const std::string where = service.log == "null" ? "goes nowhere (\"log\": \"null\")"
                                                  : "goes to where reforkd's own goes (\"log\": \"inherit\")";
  return complain(console,
                  "the output of " + service.name + " " + where +
                      ": it is not kept by refork. Set \"log\" to "
                      "\"journal\" or \"file:/PATH\"; events are shown by reforkctl why " +
                      service.name,
                  Exit::failed);
}

}  // namespace

int show_logs(Client& client, const Invocation& call, const Console& console) {
  const auto target = parse_target(call.target);
  if (!target) return complain(console, target.error().what, Exit::usage);
  std::uint64_t since_ms = 0;
  if (!call.since.empty()) {
    const auto since = parse_since(call.since, console.view.now_ms);
    if (!since) return complain(console, since.error().what, Exit::usage);
    since_ms = *since;
  }
  const auto status = client.status();
  if (!status) return complain(console, status.error().what, Exit::failed);
  const auto service = std::ranges::find(status->services, target->service, &Service::name);
  if (service == status->services.end()) {
    std::vector<std::string> known;
    for (const auto& one : status->services) known.push_back(one.name);
    return complain(console, base::no_service(target->service, known), Exit::failed);
  }
  if (service->log == "journal") return show_journal(*target, *service, since_ms, call, console);
  if (service->log.starts_with(file_prefix))
    return show_file(*target, service->log.substr(file_prefix.size()), call, console);
  return show_elsewhere(*service, console);
}

}  // namespace refork::ctl
