// What is done to the services: errors and crashes of requests, signals to workers, orders of an operator.
#include "chaos/faults.h"

#include <csignal>
#include <numeric>

namespace refork::chaos {

using test::HttpConnection;

namespace {

constexpr std::size_t kMostAtOnce = 32;  // culprits and orders whose outcome is not known yet
constexpr std::uint64_t kLongestPauseMs = 250;
// With the pause after it, the watchdog and the drain that may follow: below what is waited for an answer.
constexpr std::chrono::milliseconds kLongestStop{1000};
constexpr std::uint32_t kFewest = 2, kMost = 6;  // workers after a scale

// What is wrong with how a culprit ended; nothing if it ended as it must.
std::string culprit(const test::Address& address, const std::string& path, int status) {
  HttpConnection connection(address, kAnswerPatience);
  if (!connection.send_get(path)) return "";  // its connection died before it could ask
  const test::Answer answer = connection.read_answer();
  if (answer.error == "timeout") return path + " had no end";
  if (answer.error == "refused") return path + " was refused";
  // Another fault may have taken its worker before it was answered.
  if (answer.status != 0 && answer.status != status)
    return path + " was answered " + std::to_string(answer.status);
  return "";
}

template <class T>
void settle(std::vector<std::future<T>>& pending, std::size_t most,
            const std::function<void(std::future<T>&)>& take) {
  while (pending.size() > most) {
    take(pending.front());
    pending.erase(pending.begin());
  }
}

}  // namespace

const std::vector<Faults::Kind>& Faults::kinds() {
  static const std::vector<Kind> all = {
      {"error", 20, &Faults::error},
      {"error-code", 8, &Faults::error_code},
      {"error-late", 10, &Faults::error_late},
      {"crash", 10, &Faults::crash},
      {"abort", 6, &Faults::abort},
      {"hang", 3, &Faults::hang},
      {"kill -9", 8, &Faults::kill_worker},
      {"kill -TERM", 4, &Faults::terminate_worker},
      {"kill -STOP", 4, &Faults::stop_worker},
      {"kill -CONT", 6, &Faults::go_on},
      {"reload", 2, &Faults::reload},
      {"scale", 3, &Faults::scale},
      {"drain", 6, &Faults::drain},
      {"reforkctl kill", 3, &Faults::ctl_kill},
      {"kill -9 of reforkd", 3, &Faults::kill_reforkd},
      {"kill -9 of its keeper", 1, &Faults::kill_keeper},
  };
  return all;
}

void Faults::one() {
  if (stopped_ != 0 && test::Clock::now() - stopped_at_ > kLongestStop) go_on();
  ++count_;
  service_ = below(kServices.size());
  const auto& all = kinds();
  std::uint64_t point =
      below(std::accumulate(all.begin(), all.end(), std::uint64_t{0},
                            [](std::uint64_t sum, const Kind& kind) { return sum + kind.weight; }));
  for (const auto& kind : all) {
    if (point < kind.weight) return (this->*kind.act)();
    point -= kind.weight;
  }
}

std::chrono::milliseconds Faults::pause() {
  const bool is_long = below(8) == 0 && stopped_ == 0;
  return std::chrono::milliseconds(is_long ? 4 * kLongestPauseMs : below(kLongestPauseMs));
}

void Faults::say(const std::string& what) {
  arena_.time_line().add(std::string(kServices[service_]) + ": " + what);
}

void Faults::ask(const char* path, int status) {
  say(path);
  culprits_.push_back(std::async(
      std::launch::async, [this, address = arena_.address(service_),
                           service = std::string(kServices[service_]), path = std::string(path), status] {
        const auto wrong = culprit(address, path, status);
        if (!wrong.empty()) arena_.time_line().add(service + ": " + wrong);
        return wrong.empty() ? "" : service + ": " + wrong;
      }));
  settle<std::string>(culprits_, kMostAtOnce, [this](auto& one) {
    if (auto wrong = one.get(); !wrong.empty()) problems_.push_back(std::move(wrong));
  });
}

void Faults::signal(int number) {
  const auto worker = arena_.worker(service_, random_());
  if (!worker) return;
  const pid_t pid = (*worker)["pid"];
  say("signal " + std::to_string(number) + " to worker " + (*worker)["id"].dump() + " (pid " +
      std::to_string(pid) + ")");
  ::kill(pid, number);
  if (number != SIGSTOP) return;
  stopped_ = pid;
  stopped_at_ = test::Clock::now();
}

// Of a thread of many, found by the request's age; of a loop, found by the watchdog.
void Faults::hang() { ask("/hang", 0); }

void Faults::kill_worker() { signal(SIGKILL); }
void Faults::terminate_worker() { signal(SIGTERM); }

// One at a time, and never for long: whoever waits for it is to be answered in time.
void Faults::stop_worker() {
  go_on();
  signal(SIGSTOP);
}

void Faults::go_on() {
  if (stopped_ == 0) return;
  arena_.time_line().add("signal SIGCONT to pid " + std::to_string(stopped_));
  ::kill(std::exchange(stopped_, 0), SIGCONT);
}

void Faults::order(std::vector<std::string> words) {
  std::string text = "reforkctl";
  for (const auto& word : words) text += " " + word;
  arena_.time_line().add(text);
  words.insert(words.begin(), "--no-block");
  // It may be refused: there is a reload under way, or no worker there just now.
  arena_.daemon().ctl(std::move(words));
}

void Faults::reload() { order({"reload", kServices[service_]}); }

void Faults::scale() {
  order({"scale", kServices[service_], std::to_string(kFewest + below(kMost - kFewest + 1))});
}

void Faults::drain() {
  order({"drain", std::string(kServices[service_]) + "/" + std::to_string(below(kFewest))});
}

void Faults::ctl_kill() {
  order({"kill", std::string(kServices[service_]) + "/" + std::to_string(below(kFewest))});
}

void Faults::kill_reforkd() { arena_.kill_reforkd(); }

// One that follows it is not known by its pid: the first one only.
void Faults::kill_keeper() { arena_.kill_keeper(); }

void Faults::make_good() {
  go_on();
  for (const char* name : kServices) {
    arena_.time_line().add(std::string("as at first: ") + name);
    // Not while a reload is under way.
    test::wait_until(
        [&] {
          return arena_.daemon().ctl({"scale", name, std::to_string(kWorkers)}).code == 0;
        },
        kWholePatience);
  }
}

std::vector<std::string> Faults::problems() {
  settle<std::string>(culprits_, 0, [this](auto& one) {
    if (auto wrong = one.get(); !wrong.empty()) problems_.push_back(std::move(wrong));
  });
  return std::move(problems_);
}

}  // namespace refork::chaos
