// The state as JSON and back: one function a struct names all its members for both directions, by structured
// bindings, so that a member that is added and forgotten here does not compile.
#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "state/state.h"

namespace refork::state {
namespace {

using Json = nlohmann::ordered_json;
using std::chrono::nanoseconds;

// ---- the members of each struct. `v(name, member)` is called for each.

template <class V, class T>
void members(const V& v, T& one, core::Slot*) {
  auto& [current, boot_failures, next_start, why, given_up, served] = one;
  v("current", current), v("boot_failures", boot_failures), v("next_start", next_start), v("why", why);
  v("given_up", given_up), v("served", served);
}

template <class V, class T>
void members(const V& v, T& one, core::Worker*) {
  auto& [id, slot, generation, ready, state, since, ready_at, deadline, drain_began, requested, wanted_gone,
         tainted, paid, expelled, announced_end, hit_deadline, killed_by_order, kill_sent, terminated,
         crash_recorded, contained, crashed_at, gone_at, hung, recycle_factor, recycle_due, recycle_why,
         failed_boot, channel_lost, why] = one;
  v("id", id), v("slot", slot), v("generation", generation), v("ready", ready), v("state", state);
  v("since", since), v("ready_at", ready_at), v("deadline", deadline), v("drain_began", drain_began);
  v("requested", requested), v("wanted_gone", wanted_gone), v("tainted", tainted), v("paid", paid);
  v("expelled", expelled), v("announced_end", announced_end), v("hit_deadline", hit_deadline);
  v("killed_by_order", killed_by_order), v("kill_sent", kill_sent), v("terminated", terminated);
  v("crash_recorded", crash_recorded), v("contained", contained), v("crashed_at", crashed_at);
  v("gone_at", gone_at), v("hung", hung), v("recycle_factor", recycle_factor), v("recycle_due", recycle_due);
  v("recycle_why", recycle_why), v("failed_boot", failed_boot);
  v("channel_lost", channel_lost), v("why", why);
}

template <class V, class T>
void members(const V& v, T& one, core::TokenBucket::Level*) {
  auto& [tokens, at] = one;
  v("tokens", tokens), v("at", at);
}

template <class V, class T>
void members(const V& v, T& one, core::ReloadSnapshot*) {
  auto& [next_slot, generation, candidate, old] = one;
  v("next_slot", next_slot), v("generation", generation), v("candidate", candidate), v("old", old);
}

template <class V, class T>
void members(const V& v, T& one, core::ServiceSnapshot*) {
  auto& [wanted_workers, wanted, started_once, generation, replacements, budget, stormy, next_token, dumps,
         dumps_allowed, slots, workers, reload, last_reload_error] = one;
  v("wanted_workers", wanted_workers), v("wanted", wanted), v("started_once", started_once);
  v("generation", generation), v("replacements", replacements), v("budget", budget), v("stormy", stormy);
  v("next_token", next_token), v("dumps", dumps), v("dumps_allowed", dumps_allowed), v("slots", slots),
      v("workers", workers), v("reload", reload);
  v("last_reload_error", last_reload_error);
}

template <class V, class T>
void members(const V& v, T& one, core::Ended*) {
  auto& [worker, slot, generation, requested, outcome, cause, drain_duration, lived, code, signal, core,
         core_file] = one;
  v("worker", worker), v("slot", slot), v("generation", generation), v("requested", requested);
  v("outcome", outcome), v("cause", cause), v("drain_duration", drain_duration), v("lived", lived);
  v("code", code), v("signal", signal), v("core", core), v("core_file", core_file);
}

template <class V, class T>
void members(const V& v, T& one, Listener*) {
  auto& [fd_name, configured, address, inode] = one;
  v("fd_name", fd_name), v("configured", configured), v("address", address), v("inode", inode);
}

template <class V, class T>
void members(const V& v, T& one, Process*) {
  auto& [worker, slot, generation, pid, start_time, started_ms, served_before_drain, greeted, told_to_go,
         boot_error, status, output, output_from, output_to, unsafe_reports, reports] = one;
  v("worker", worker), v("slot", slot), v("generation", generation), v("pid", pid);
  v("start_time", start_time), v("started_ms", started_ms), v("served_before_drain", served_before_drain);
  v("greeted", greeted), v("told_to_go", told_to_go), v("boot_error", boot_error), v("status", status);
  v("output", output), v("output_from", output_from), v("output_to", output_to);
  v("unsafe_reports", unsafe_reports), v("reports", reports);
}

template <class V, class T>
void members(const V& v, T& one, End*) {
  auto& [process, ended, encoded] = one;
  static_cast<void>(encoded);
  v("process", process), v("ended", ended);
}

template <class V, class T>
void members(const V& v, T& one, MetFailure*) {
  auto& [worker, id, told] = one;
  v("worker", worker), v("id", id), v("told", told);
}

template <class V, class T>
void members(const V& v, T& one, Service*) {
  auto& [name, print, wanted_print, configured, ready, drain_deadline, failures, shown, core, listeners,
         processes, ends, met] = one;
  v("name", name), v("print", print), v("wanted_print", wanted_print), v("configured", configured),
      v("ready", ready);
  v("drain_deadline", drain_deadline), v("failures", failures), v("shown", shown), v("core", core);
  v("listeners", listeners), v("processes", processes), v("ends", ends), v("met", met);
}

template <class V, class T>
void members(const V& v, T& one, core::HistoryEntry*) {
  auto& [number, time_ms, slot, worker, pid, what, text, detail, failure, instead_of, by, waited_ms,
         waited_for, duration_ms, completed, cut, count] = one;
  v("number", number), v("time_ms", time_ms), v("slot", slot), v("worker", worker), v("pid", pid);
  v("what", what), v("text", text), v("detail", detail), v("failure", failure);
  v("instead_of", instead_of), v("by", by), v("waited_ms", waited_ms), v("waited_for", waited_for);
  v("duration_ms", duration_ms), v("completed", completed), v("cut", cut), v("count", count);
}

template <class V, class T>
void members(const V& v, T& one, Told*) {
  auto& [service, entry] = one;
  v("service", service), v("entry", entry);
}

// ---- out: written straight into the text, because it happens each time something changes

struct Write {
  std::string& text;

  template <class T>
  void operator()(const char* name, const T& value) const {
    if (text.back() != '{') text += ',';
    (text += '"') += name;
    text += "\":";
    put(value);
  }

  void put(bool value) const { text += value ? "true" : "false"; }
  void put(const std::string& value) const {
    const bool plain = std::all_of(value.begin(), value.end(),
                                   [](char c) { return c >= ' ' && c < 0x7f && c != '"' && c != '\\'; });
    if (plain)
      ((text += '"') += value) += '"';
    else
      text += Json(value).dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  void put(core::Time time) const {
    text += std::to_string(std::chrono::duration_cast<nanoseconds>(time.time_since_epoch()).count());
  }
  void put(core::Millis duration) const { text += std::to_string(duration.count()); }
  void put(const std::map<std::string, std::uint32_t>& counts) const {
    text += '{';
    for (const auto& [name, count] : counts) (*this)(name.c_str(), count);
    text += '}';
  }
  void put(const End& end) const {
    if (end.encoded.empty())
      put_struct(end);
    else
      text += end.encoded;
  }
  template <class T>
  void put(const std::optional<T>& value) const {
    if (value)
      put(*value);
    else
      text += "null";
  }
  template <class T>
  void put(const std::vector<T>& all) const {
    text += '[';
    for (const auto& one : all) {
      if (text.back() != '[') text += ',';
      put(one);
    }
    text += ']';
  }
  template <class T>
  void put(const T& value) const {
    if constexpr (std::is_enum_v<T>)
      ((text += '"') += base::to_name(value)) += '"';
    else if constexpr (std::is_integral_v<T>)
      text += std::to_string(value);
    else if constexpr (std::is_floating_point_v<T>)
      text += Json(value).dump();
    else
      put_struct(value);
  }
  template <class T>
  void put_struct(const T& value) const {
    text += '{';
    members(*this, value, static_cast<T*>(nullptr));
    text += '}';
  }
};

// ---- in; what is missing or of another type throws

struct Read {
  const Json& json;
  template <class T>
  void operator()(const char* name, T& value) const {
    take(json.at(name), value);
  }

  // get() would take a fraction, or what does not fit, for some other number.
  template <class T>
  static T integer(const Json& json) {
    const bool fits = json.is_number_unsigned()  ? std::in_range<T>(json.get<std::uint64_t>())
                      : json.is_number_integer() ? std::in_range<T>(json.get<std::int64_t>())
                                                 : false;
    if (!fits) throw std::invalid_argument("a number that is expected to be another one: " + json.dump());
    return json.is_number_unsigned() ? static_cast<T>(json.get<std::uint64_t>())
                                     : static_cast<T>(json.get<std::int64_t>());
  }

  static void take(const Json& json, core::Time& time) {
    time = core::Time(
        std::chrono::duration_cast<core::Clock::duration>(nanoseconds(integer<std::int64_t>(json))));
  }
  static void take(const Json& json, core::Millis& duration) {
    duration = core::Millis(integer<std::int64_t>(json));
  }
  static void take(const Json& json, std::map<std::string, std::uint32_t>& counts) {
    for (const auto& [name, count] : json.items()) counts[name] = integer<std::uint32_t>(count);
  }
  template <class T>
  static void take(const Json& json, std::optional<T>& value) {
    if (json.is_null()) return;
    T one{};
    take(json, one);
    value = std::move(one);
  }
  template <class T>
  static void take(const Json& json, std::vector<T>& all) {
    for (const auto& one : json) take(one, all.emplace_back());
  }
  template <class T>
  static void take(const Json& json, T& value) {
    if constexpr (std::is_enum_v<T>) {
      const auto known = base::from_name<T>(json.get_ref<const std::string&>());
      if (!known) throw std::invalid_argument("an unknown word " + json.dump());
      value = *known;
    } else if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      value = integer<T>(json);
    } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
      value = json.get<T>();
    } else {
      Read read{json};
      members(read, value, static_cast<T*>(nullptr));
    }
  }
};

}  // namespace

std::string encode(const Service& service) {
  std::string text;
  Write{text}.put(service);
  return text;
}

std::string encode(const End& end) {
  std::string text;
  Write{text}.put_struct(end);
  return text;
}

std::string encode(std::uint64_t last_worker, std::uint64_t last_listener,
                   const std::map<std::string, std::string>& services) {
  std::string text = "{\"version\":" + std::to_string(version) +
                     ",\"last_worker\":" + std::to_string(last_worker) +
                     ",\"last_listener\":" + std::to_string(last_listener) + ",\"services\":[";
  for (const auto& [name, service] : services) text += (text.back() == '[' ? "" : ",") + service;
  return text + "]}";
}

base::Result<Daemon> decode(std::string_view text) {
  try {
    const Json json = Json::parse(text);
    if (const auto found = Read::integer<std::uint32_t>(json.at("version")); found != version)
      return base::Error{EPROTO, "it is of version " + std::to_string(found) + ", expected version " +
                                     std::to_string(version)};
    Daemon daemon;
    daemon.last_worker = Read::integer<std::uint64_t>(json.at("last_worker"));
    daemon.last_listener = Read::integer<std::uint64_t>(json.at("last_listener"));
    Read::take(json.at("services"), daemon.services);
    return daemon;
  } catch (const std::exception& error) {
    return base::Error{EBADMSG, error.what()};
  }
}

std::string encode(const Told& told) {
  std::string text;
  Write{text}.put(told);
  return text;
}

base::Result<Told> decode_told(std::string_view line) {
  try {
    Told told;
    Read::take(Json::parse(line), told);
    return told;
  } catch (const std::exception& error) {
    return base::Error{EBADMSG, error.what()};
  }
}

}  // namespace refork::state
