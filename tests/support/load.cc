// A closed-loop HTTP client that counts exactly what became of each request: one thread, one epoll. It
// behaves as a careful client does (it looks before it reuses a connection, and honours Connection: close),
// so that what it counts as lost is the server's doing. Not a benchmark of the server's limits: wrk is
// faster.
#include "support/load.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <deque>
#include <memory>
#include <queue>
#include <utility>

namespace refork::test {
namespace {

using std::chrono::milliseconds;
using TimePoint = Clock::time_point;

constexpr milliseconds kLongestWait{50};  // how soon a stop is noticed
constexpr milliseconds kRetryAfter{5};    // after a connection that could not be made
constexpr int kMaxEvents = 256;

// A connection and the request on it. A client keeps its Slot; a culprit has one for its only request.
struct Slot {
  enum class State {
    waiting,
    connecting,
    answering,
    idle,
    gone
  };
  State state = State::waiting;  // waiting: for its time, without a connection
  bool own = false;              // made for one culprit
  bool culprit = false;          // the present request is one
  base::UniqueFd fd;
  AnswerParser parser;
  std::string last_body;   // of the connection's answer before
  TimePoint begun;         // the present request, connecting included
  TimePoint due;           // when a waiting or idle one goes on
  std::uint64_t turn = 0;  // invalidates older entries of the timer queue
};

struct Timer {
  TimePoint at;
  Slot* slot;
  std::uint64_t turn;
  bool operator>(const Timer& other) const { return at > other.at; }
};

class Runner {
 public:
  Runner(const LoadOptions& options, const std::atomic<bool>& stop, std::atomic<std::uint64_t>& ok,
         std::atomic<std::uint64_t>& culprits)
      : options_(options),
        stop_(stop),
        ok_(ok),
        culprits_done_(culprits),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

  LoadResult run();

 private:
  bool over(TimePoint now) const {
    return stop_ || (options_.duration.count() > 0 && now >= start_ + options_.duration);
  }
  Outcomes& outcomes(const Slot& slot) { return slot.culprit ? result_.culprits : result_.bystanders; }

  std::string request_text(const std::string& path, bool keep) const;
  void begin(Slot& slot);
  void connect(Slot& slot);
  void connected(Slot& slot);
  void send_request(Slot& slot);
  void readable(Slot& slot);
  void answered(Slot& slot);
  void failed(Slot& slot, std::uint64_t Outcomes::*how);
  void finish(Slot& slot, std::chrono::microseconds pause);
  void later(Slot& slot, std::chrono::microseconds after);
  void drop_connection(Slot& slot);
  bool still_open(const Slot& slot) const;
  void watch(Slot& slot, std::uint32_t events, bool fresh);
  void on_event(Slot& slot, std::uint32_t events);

  void start_culprits(TimePoint now);
  void run_timers(TimePoint now);
  void find_hung(TimePoint now);
  void forget_gone();
  milliseconds time_to_wait(TimePoint now) const;
  bool busy() const;

  const LoadOptions& options_;
  const std::atomic<bool>& stop_;
  std::atomic<std::uint64_t>& ok_;
  std::atomic<std::uint64_t>& culprits_done_;
  base::UniqueFd epoll_;
  LoadResult result_;
  TimePoint start_;
  bool ending_ = false;
  std::vector<std::unique_ptr<Slot>> clients_;
  std::vector<std::unique_ptr<Slot>> culprits_;
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
  std::uint64_t culprits_begun_ = 0;
  std::uint64_t culprits_wanted_in_pool_ = 0;
  TimePoint next_hung_check_;
};

LoadResult Runner::run() {
  start_ = Clock::now();
  next_hung_check_ = start_ + kLongestWait;
  for (int i = 0; i < options_.clients; ++i) {
    clients_.push_back(std::make_unique<Slot>());
    begin(*clients_.back());
  }
  while (true) {
    TimePoint now = Clock::now();
    if (!ending_ && over(now)) {
      ending_ = true;
      result_.duration = std::chrono::duration_cast<milliseconds>(now - start_);
    }
    if (ending_ && !busy()) break;
    epoll_event events[kMaxEvents];
    const int count =
        ::epoll_wait(epoll_.get(), events, kMaxEvents, static_cast<int>(time_to_wait(now).count()));
    for (int i = 0; i < count; ++i) on_event(*static_cast<Slot*>(events[i].data.ptr), events[i].events);
    now = Clock::now();
    run_timers(now);
    if (!ending_) start_culprits(now);
    find_hung(now);
    forget_gone();
  }
  std::sort(result_.latencies_us.begin(), result_.latencies_us.end());
  return std::move(result_);
}

bool Runner::busy() const {
  const auto under_way = [](const std::unique_ptr<Slot>& slot) {
    return slot->state == Slot::State::connecting || slot->state == Slot::State::answering;
  };
  return std::any_of(clients_.begin(), clients_.end(), under_way) ||
         std::any_of(culprits_.begin(), culprits_.end(), under_way);
}

milliseconds Runner::time_to_wait(TimePoint now) const {
  TimePoint until = now + kLongestWait;
  if (!timers_.empty()) until = std::min(until, timers_.top().at);
  if (!options_.culprit_path.empty() && !ending_) {
    const auto due =
        std::chrono::duration<double>(static_cast<double>(culprits_begun_) / options_.culprit_rate);
    until = std::min(until, start_ + std::chrono::duration_cast<Clock::duration>(due));
  }
  return std::max(milliseconds(0), std::chrono::ceil<milliseconds>(until - now));
}

std::string Runner::request_text(const std::string& path, bool keep) const {
  return "GET " + path + " HTTP/1.1\r\nHost: load\r\n" + (keep ? "\r\n" : "Connection: close\r\n\r\n");
}

// The slot's next request, on its connection if that is still good.
void Runner::begin(Slot& slot) {
  slot.begun = Clock::now();
  slot.culprit = slot.own;
  if (!slot.own && culprits_wanted_in_pool_ > 0) {
    --culprits_wanted_in_pool_;
    slot.culprit = true;
  }
  if (slot.fd && !still_open(slot)) {
    ++result_.closed_idle;
    drop_connection(slot);
    if (!options_.reconnect) {
      slot.state = Slot::State::gone;
      return;
    }
  }
  if (slot.fd)
    send_request(slot);
  else
    connect(slot);
}

void Runner::connect(Slot& slot) {
  slot.fd = start_connect(options_.address);
  if (!slot.fd) {
    if (errno == EAGAIN)
      later(slot, kRetryAfter);  // a unix socket's queue is full: not begun yet
    else
      failed(slot, errno == ECONNREFUSED ? &Outcomes::refused : &Outcomes::unconnected);
    return;
  }
  ++result_.connections;
  slot.state = Slot::State::connecting;
  watch(slot, EPOLLOUT, true);
}

void Runner::connected(Slot& slot) {
  int code = 0;
  socklen_t length = sizeof code;
  ::getsockopt(slot.fd.get(), SOL_SOCKET, SO_ERROR, &code, &length);
  if (code != 0) {
    failed(slot, code == ECONNREFUSED ? &Outcomes::refused : &Outcomes::unconnected);
    return;
  }
  watch(slot, EPOLLIN, false);
  send_request(slot);
}

void Runner::send_request(Slot& slot) {
  const bool keep = options_.keep_alive && !slot.own;
  const std::string text = request_text(slot.culprit ? options_.culprit_path : options_.path, keep);
  slot.parser.reset();
  slot.state = Slot::State::answering;
  const ssize_t sent = ::send(slot.fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(text.size())) failed(slot, &Outcomes::lost);
}

void Runner::readable(Slot& slot) {
  char buffer[32 * 1024];
  while (slot.state == Slot::State::answering) {
    const ssize_t got = ::recv(slot.fd.get(), buffer, sizeof buffer, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got > 0)
      slot.parser.feed({buffer, static_cast<std::size_t>(got)});
    else
      slot.parser.feed_end();
    if (slot.parser.done()) return answered(slot);
    if (got <= 0 || slot.parser.state() == AnswerParser::State::broken) return failed(slot, &Outcomes::lost);
  }
}

void Runner::answered(Slot& slot) {
  Outcomes& counts = outcomes(slot);
  ++counts.sent;
  ++counts.status[slot.parser.status()];
  if (slot.culprit) {
    ++culprits_done_;
  } else {
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - slot.begun);
    result_.latencies_us.push_back(static_cast<std::uint32_t>(took.count()));
    if (slot.parser.status() == 200) ++ok_;
    slot.last_body = slot.parser.body();
  }
  const bool keep = options_.keep_alive && !slot.own;
  if (slot.parser.must_close() || !keep) {
    if (keep) ++result_.closed_by_answer;
    drop_connection(slot);
  }
  finish(slot, options_.pause);
}

void Runner::failed(Slot& slot, std::uint64_t Outcomes::*how) {
  Outcomes& counts = outcomes(slot);
  ++counts.sent;
  ++(counts.*how);
  if (slot.culprit) ++culprits_done_;
  if (how == &Outcomes::lost && !slot.culprit && options_.on_lost)
    options_.on_lost({slot.begun, Clock::now(), slot.last_body});
  drop_connection(slot);
  const bool at_once = how == &Outcomes::lost;
  finish(slot, at_once ? std::chrono::microseconds(0) : std::chrono::microseconds(kRetryAfter));
}

// The slot's request is over; a client goes on after the pause.
void Runner::finish(Slot& slot, std::chrono::microseconds pause) {
  if (slot.own || (!slot.fd && !options_.reconnect))
    slot.state = Slot::State::gone;
  else
    later(slot, pause);
}

void Runner::later(Slot& slot, std::chrono::microseconds after) {
  slot.state = slot.fd ? Slot::State::idle : Slot::State::waiting;
  slot.due = Clock::now() + after;
  timers_.push({slot.due, &slot, ++slot.turn});
}

// Taken out by name: a process that another thread forks holds the socket open until its exec, and until then
// its closing here would not end the events.
void Runner::drop_connection(Slot& slot) {
  if (slot.fd) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, slot.fd.get(), nullptr);
  slot.fd.reset();
  slot.last_body.clear();
}

bool Runner::still_open(const Slot& slot) const {
  char byte;
  const ssize_t got = ::recv(slot.fd.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got < 0 && errno == EAGAIN;
}

void Runner::watch(Slot& slot, std::uint32_t events, bool fresh) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &slot;
  ::epoll_ctl(epoll_.get(), fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, slot.fd.get(), &event);
}

void Runner::on_event(Slot& slot, std::uint32_t) {
  switch (slot.state) {
    case Slot::State::connecting:
      return connected(slot);
    case Slot::State::answering:
      return readable(slot);
    case Slot::State::idle:  // nobody asked: the server closes
      ++result_.closed_idle;
      slot.state = options_.reconnect ? Slot::State::waiting : Slot::State::gone;
      return drop_connection(slot);
    case Slot::State::waiting:
    case Slot::State::gone:
      return;
  }
}

void Runner::start_culprits(TimePoint now) {
  if (options_.culprit_path.empty()) return;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  while (static_cast<double>(culprits_begun_) <= elapsed * options_.culprit_rate) {
    ++culprits_begun_;
    if (options_.culprits_in_pool) {
      ++culprits_wanted_in_pool_;
      continue;
    }
    culprits_.push_back(std::make_unique<Slot>());
    culprits_.back()->own = true;
    begin(*culprits_.back());
  }
}

void Runner::run_timers(TimePoint now) {
  while (!timers_.empty() && timers_.top().at <= now) {
    const Timer timer = timers_.top();
    timers_.pop();
    Slot& slot = *timer.slot;
    const bool due = slot.state == Slot::State::idle || slot.state == Slot::State::waiting;
    if (timer.turn == slot.turn && due && !ending_) begin(slot);
  }
}

void Runner::find_hung(TimePoint now) {
  if (now < next_hung_check_) return;
  next_hung_check_ = now + kLongestWait;
  const auto check = [&](const std::unique_ptr<Slot>& slot) {
    const bool under_way = slot->state == Slot::State::connecting || slot->state == Slot::State::answering;
    if (under_way && now - slot->begun >= options_.patience) failed(*slot, &Outcomes::hung);
  };
  for (const auto& slot : clients_) check(slot);
  for (const auto& slot : culprits_) check(slot);
}

void Runner::forget_gone() {
  std::erase_if(culprits_,
                [](const std::unique_ptr<Slot>& slot) { return slot->state == Slot::State::gone; });
}

void append(std::string& text, const char* name, std::uint64_t value) {
  text += (text.back() == '{' ? "\"" : ",\"") + std::string(name) + "\":" + std::to_string(value);
}

std::string json_of(const Outcomes& counts) {
  std::string text = "{";
  append(text, "sent", counts.sent);
  append(text, "ok", counts.ok());
  append(text, "not_ok", counts.not_ok());
  append(text, "refused", counts.refused);
  append(text, "unconnected", counts.unconnected);
  append(text, "lost", counts.lost);
  append(text, "hung", counts.hung);
  text += ",\"status\":{";
  for (const auto& [status, count] : counts.status) append(text, std::to_string(status).c_str(), count);
  return text + "}}";
}

std::string words_of(const Outcomes& counts) {
  std::string text = std::to_string(counts.sent) + " requests:";
  for (const auto& [status, count] : counts.status)
    text += " " + std::to_string(count) + " x " + std::to_string(status) + ",";
  text += " lost " + std::to_string(counts.lost) + ", refused " + std::to_string(counts.refused) + ", hung " +
          std::to_string(counts.hung);
  if (counts.unconnected > 0) text += ", not connected " + std::to_string(counts.unconnected);
  return text;
}

}  // namespace

std::uint64_t Outcomes::answers(int code) const {
  const auto found = status.find(code);
  return found == status.end() ? 0 : found->second;
}

std::uint64_t Outcomes::not_ok() const {
  std::uint64_t count = 0;
  for (const auto& [code, answers] : status) count += code == 200 ? 0 : answers;
  return count;
}

std::uint64_t LoadResult::noticed() const {
  return bystanders.not_ok() + bystanders.refused + bystanders.unconnected + bystanders.lost +
         bystanders.hung;
}

std::uint32_t LoadResult::latency_us(double quantile) const {
  if (latencies_us.empty()) return 0;
  const auto last = static_cast<double>(latencies_us.size() - 1);
  return latencies_us[static_cast<std::size_t>(quantile * last)];
}

double LoadResult::per_second() const {
  const double seconds = std::chrono::duration<double>(duration).count();
  return seconds > 0 ? static_cast<double>(bystanders.sent) / seconds : 0;
}

std::string LoadResult::summary() const {
  char latency[128];
  std::snprintf(latency, sizeof latency, "%.0f requests/s; latency p50 %.2f ms, p99 %.2f ms, max %.2f ms",
                per_second(), latency_us(0.5) / 1e3, latency_us(0.99) / 1e3, latency_us(1) / 1e3);
  std::string text = "bystanders: " + words_of(bystanders) + "\n";
  if (culprits.sent > 0) text += "culprits:   " + words_of(culprits) + "\n";
  text += std::string(latency) + "\nconnections: " + std::to_string(connections) + ", closed by an answer " +
          std::to_string(closed_by_answer) + ", closed while idle " + std::to_string(closed_idle) + "\n";
  return text;
}

std::string LoadResult::json() const {
  std::string text = "{";
  append(text, "duration_ms", static_cast<std::uint64_t>(duration.count()));
  append(text, "noticed", noticed());
  text += ",\"bystanders\":" + json_of(bystanders) + ",\"culprits\":" + json_of(culprits);
  append(text, "per_second", static_cast<std::uint64_t>(per_second()));
  append(text, "connections", connections);
  append(text, "closed_by_answer", closed_by_answer);
  append(text, "closed_idle", closed_idle);
  text += ",\"latency_us\":{";
  append(text, "p50", latency_us(0.5));
  append(text, "p99", latency_us(0.99));
  append(text, "max", latency_us(1));
  return text + "}}";
}

LoadResult run_load(const LoadOptions& options) { return Load(options).wait(); }

Load::Load(LoadOptions options)
    : options_(std::move(options)),
      thread_([this] { result_ = Runner(options_, stop_, ok_, culprits_).run(); }) {}

Load::~Load() { stop(); }

LoadResult Load::stop() {
  stop_ = true;
  return wait();
}

LoadResult Load::wait() {
  if (thread_.joinable()) thread_.join();
  return result_;
}

}  // namespace refork::test
