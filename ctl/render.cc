// The status, the list of failures and events as lines for a person. One failure in full is
// render_failure.cc.
#include "ctl/render.h"

#include <algorithm>
#include <map>

namespace refork::ctl {

namespace {

Color color_of(const std::string& state) {
  static const std::map<std::string, Color> colors = {
      {"running", Color::green},   {"serving", Color::green},    {"degraded", Color::red},
      {"storm", Color::red},       {"backoff", Color::red},      {"killing", Color::red},
      {"starting", Color::yellow}, {"reloading", Color::yellow}, {"stopping", Color::yellow},
      {"draining", Color::yellow}, {"stopped", Color::dim},
  };
  const auto found = colors.find(state);
  return found == colors.end() ? Color::none : found->second;
}

std::string since(std::uint64_t then_ms, const View& view) {
  return then_ms == 0 ? "-" : humane_duration(view.now_ms > then_ms ? view.now_ms - then_ms : 0);
}
std::string until(std::uint64_t then_ms, const View& view) {
  return humane_duration(then_ms > view.now_ms ? then_ms - view.now_ms : 0);
}

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (const auto& part : parts) {
    if (part.empty()) continue;
    if (!out.empty()) out += separator;
    out += part;
  }
  return out;
}

// What there is to say about a worker besides its numbers.
std::string note(const Worker& worker, const View& view) {
  return joined({worker.tainted ? "tainted" : "", escape(worker.why),
                 worker.deadline_ms ? "killed in " + until(worker.deadline_ms, view) : "",
                 worker.next_start_ms ? "next start in " + until(worker.next_start_ms, view) : ""},
                ", ");
}

std::vector<Cell> worker_row(const Worker& worker, const View& view) {
  const bool there = worker.id != 0;
  const auto number = [&](std::uint64_t value) { return there ? std::to_string(value) : std::string("-"); };
  return {{std::to_string(worker.slot)},
          {number(worker.id)},
          {there ? std::to_string(worker.pid) : "-"},
          {escape(worker.state), color_of(worker.state)},
          {std::to_string(worker.generation)},
          {number(worker.in_flight)},
          {number(worker.served)},
          {there ? since(worker.started_ms, view) : "-"},
          {there && worker.rss_bytes ? humane_bytes(worker.rss_bytes) : "-"},
          {note(worker, view), worker.tainted ? Color::yellow : Color::none}};
}

std::string headline(const Daemon& daemon, const View& view) {
  return fit(joined({"reforkd " + escape(daemon.version), "pid " + std::to_string(daemon.pid),
                     "up " + since(daemon.started_ms, view), humane_bytes(daemon.rss_bytes),
                     escape(daemon.config)},
                    ", "),
             view.width) +
         "\n";
}

std::string store_line(const Store& store, const View& view) {
  if (store.state == "ok" || store.state.empty()) return "";
  const std::string text = joined({"store " + escape(store.state) + ": " + escape(store.why),
                                   count_of(store.waiting, "record") + " kept in memory",
                                   store.dropped ? std::to_string(store.dropped) + " dropped" : ""},
                                  ", ");
  return paint(fit(text, view.width), Color::red, view) + "\n";
}

std::string service_lines(const Service& service, const View& view) {
  const auto serving = static_cast<std::uint64_t>(
      std::ranges::count_if(service.workers, [](const Worker& w) { return w.state == "serving"; }));
  const std::string name = escape(service.name), state = escape(service.state);
  const std::string rest =
      joined({"generation " + std::to_string(service.generation),
              std::to_string(serving) + "/" + std::to_string(service.wanted) + " serving",
              count_of(service.failures, "failure"), count_of(service.restarts, "restart")},
             ", ");
  // Painted after cutting, as the escape sequences take no room.
  const std::string start = name + ": " + state;
  const std::string whole = fit(start + ", " + rest, view.width);
  std::string out = whole.starts_with(start)
                        ? paint(name, Color::bold, view) + ": " +
                              paint(state, color_of(service.state), view) + whole.substr(start.size())
                        : whole;
  out += "\n";
  std::vector<std::string> addresses;
  for (const auto& address : service.listen) addresses.push_back(escape(address));
  const std::size_t room = view.width > 2 ? view.width - 2 : view.width;
  if (!addresses.empty()) out += "  " + fit(joined(addresses, " "), room) + "\n";
  if (!service.why.empty()) out += "  " + paint(fit(escape(service.why), room), Color::yellow, view) + "\n";
  return out;
}

}  // namespace

std::string render_status(const Status& status, const View& view) {
  std::string out = headline(status.daemon, view) + store_line(status.daemon.store, view);
  for (const auto& service : status.services) {
    out += "\n" + service_lines(service, view);
    if (service.workers.empty()) continue;
    Table table({{"SLOT", true},
                 {"WORKER", true},
                 {"PID", true},
                 {"STATE"},
                 {"GEN", true},
                 {"IN-FLIGHT", true},
                 {"SERVED", true},
                 {"AGE", true},
                 {"MEMORY", true},
                 {"NOTE"}},
                "  ");
    for (const auto& worker : service.workers) table.add(worker_row(worker, view));
    out += table.text(view);
  }
  return out;
}

namespace {

// The one that failed, else those that its worker's end cut: the first, and how many more.
std::string request_of(const Failure& failure) {
  if (failure.request) return escape(failure.request->label);
  if (!failure.drain || failure.drain->cut.empty()) return "-";
  const auto& cut = failure.drain->cut;
  return escape(cut.front().label) + (cut.size() > 1 ? " +" + std::to_string(cut.size() - 1) : "");
}

}  // namespace

// The error is what one looks for, the id what one copies: a narrow terminal shows these, a wider one the
// rest too.
std::string render_failures(const std::vector<Failure>& failures, const View& view) {
  constexpr std::size_t for_requests = 100, for_all = 130;
  if (failures.empty()) return "No failures.\n";
  const bool requests = view.width == 0 || view.width >= for_requests;
  const bool all = view.width == 0 || view.width >= for_all;
  std::vector<Column> columns = {{"TIME"}, {"ID", false, true}, {"SLOT"}};
  if (all) columns.insert(columns.end(), {{"KIND"}, {"COUNT", true}});
  columns.push_back({"ERROR"});
  if (requests) columns.push_back({"REQUEST"});
  Table table(std::move(columns), "");
  for (const auto& failure : failures) {
    std::vector<Cell> row = {{humane_time(failure.time_ms).substr(all ? 0 : 5), Color::dim},
                             {escape(failure.id)},
                             {escape(failure.service) + "/" + std::to_string(failure.slot)}};
    if (all) row.insert(row.end(), {{escape(failure.kind), Color::red}, {std::to_string(failure.count)}});
    const bool kind_is_news = !all && failure.kind != "exception";
    row.push_back(
        {joined({kind_is_news ? failure.kind : "", escape(failure.type), escape(failure.message)}, ": "),
         all ? Color::none : Color::red});
    if (requests) row.push_back({request_of(failure)});
    table.add(std::move(row));
  }
  return table.text(view);
}

std::string render_event(const Event& event, const View& view) {
  std::string who = escape(event.service);
  if (event.slot >= 0) who += "/" + std::to_string(event.slot);
  if (event.worker != 0) who += (who.empty() ? "worker " : " worker ") + std::to_string(event.worker);
  if (event.pid != 0) who += " (pid " + std::to_string(event.pid) + ")";
  const std::string time = humane_time(event.time_ms), type = escape(event.type);
  const std::string rest = joined({who, escape(event.text)}, ": ");
  const std::string whole = fit(joined({time, type, rest}, " "), view.width);
  const std::string start = time + " " + type;
  if (!whole.starts_with(start)) return whole + "\n";
  const Color color = event.type == "failure" || event.type == "protocol" || event.type == "worker-killed"
                          ? Color::red
                          : Color::bold;
  return paint(time, Color::dim, view) + " " + paint(type, color, view) + whole.substr(start.size()) + "\n";
}

// As the journal's own readers show it; the text is never cut, for it is what somebody looks for.
std::string render_log_line(const LogLine& line, const View& view) {
  const bool output = line.event.empty();
  std::string who = escape(line.source);
  if (output && line.pid != 0) who += "[" + std::to_string(line.pid) + "]";
  const std::string time = line.time_ms == 0 ? "" : paint(humane_time(line.time_ms), Color::dim, view) + " ";
  return time + paint(who, output ? Color::none : Color::bold, view) + ": " + escape(line.text) + "\n";
}

std::string render_message(std::uint64_t worker, std::string_view json, const View& view) {
  return fit("message from worker " + std::to_string(worker) + ": " + escape(json), view.width) + "\n";
}

}  // namespace refork::ctl
