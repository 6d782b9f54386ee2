// reforkd's side of refork-symbolizer. Questions and answers come in order, so the first question without an
// answer is the one that ended a helper; the others are asked again of the next.
#include "supervisor/symbolizer.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <csignal>
#include <cstring>
#include <optional>

#include "log/log.h"
#include "os/packet.h"
#include "os/process.h"
#include "supervisor/failures.h"

namespace refork::supervisor {

namespace {

constexpr const char* nobody = "nobody";
constexpr const char* program_name = "/refork-symbolizer";
// Of one helper. The processor time is that of its whole life: a helper that used it up is started again.
#if !defined(__SANITIZE_ADDRESS__)  // whose programs need more addresses than any limit
constexpr std::uint64_t address_space = std::uint64_t{4} << 30;
#endif
constexpr std::uint64_t cpu_seconds = 60, descriptors = 128;
constexpr int answers_a_turn = 16;

std::vector<core::Limit> limits() {
  std::vector<core::Limit> all = {{"cpu", cpu_seconds}, {"nofile", descriptors}, {"core", 0}, {"fsize", 0}};
#if !defined(__SANITIZE_ADDRESS__)
  all.push_back({"as", address_space});
#endif
  return all;
}

// Of a process that lives: its executable, whatever stands at that path by now. Only named, not opened:
// whether it may be read is for the helper's own rights to decide.
base::UniqueFd executable_of(pid_t pid) {
  if (pid <= 0) return {};
  return base::UniqueFd(::open(("/proc/" + std::to_string(pid) + "/exe").c_str(), O_PATH | O_CLOEXEC));
}

proto::SymbolQuestion question_about(const Subject& subject, const proto::FailureRecord& record) {
  proto::SymbolQuestion question;
  question.pid = subject.pid;
  for (const auto& frame : record.stack) question.frames.push_back({frame.module, frame.offset});
  question.build_ids = record.build_ids;
  return question;
}

}  // namespace

std::vector<std::string> symbolizer_places() {
  char buffer[PATH_MAX];
  const auto length = ::readlink("/proc/self/exe", buffer, sizeof buffer);
  const std::string own(buffer, length > 0 ? static_cast<std::size_t>(length) : 0);
  const std::string directory = own.substr(0, own.rfind('/'));
  return {directory + program_name, directory + "/" REFORK_LIBEXEC_FROM_BIN + program_name,
          REFORK_LIBEXECDIR + std::string(program_name)};
}

Symbolizer::Symbolizer(Loop& loop, Setup setup)
    : loop_(loop), setup_(std::move(setup)), timer_(loop.timer([this] { on_time(); })) {}

Symbolizer::~Symbolizer() = default;  // the helpers end with their sockets

void Symbolizer::ask(const Subject& subject, const proto::FailureRecord& record, Reply reply) {
  auto question = question_about(subject, record);
  question.id = ++last_id_;
  auto packet = proto::encode(question);
  Helper& helper = helper_of(subject.service);
  if (!packet || helper.sent.size() + helper.unsent.size() >= max_waiting) return reply(std::nullopt);
  helper.unsent.push_back({question.id, *std::move(packet), executable_of(subject.pid),
                           core::Clock::now() + symbol_patience, std::move(reply)});
  work(helper);
}

// Low-privilege: as the workers, who could read these files anyway; as nobody where they are root.
std::string Symbolizer::user_for(const std::string& service) const {
  if (::geteuid() != 0) return "";
  const std::string user = setup_.user_of(service);
  if (user.empty()) return nobody;
  const auto found = os::find_user(user);
  return found && found->uid != 0 ? user : nobody;
}

Symbolizer::Helper& Symbolizer::helper_of(const std::string& service) {
  auto known = users_.find(service);
  if (known == users_.end()) known = users_.emplace(service, user_for(service)).first;
  const std::string& user = known->second;
  auto& helper = helpers_[user];
  if (!helper) {
    helper = std::make_unique<Helper>();
    helper->user = user;
  }
  return *helper;
}

void Symbolizer::work(Helper& helper) {
  const auto now = core::Clock::now();
  if (!helper.socket && !helper.unsent.empty() &&
      (!helper.started || now >= *helper.started + restart_interval)) {
    helper.started = now;
    if (const auto started = start(helper); !started) {
      complain(started.error().what);
      give_up(helper.unsent);
    }
  }
  send(helper);
  rearm();
}

base::Result<os::SpawnPlan> Symbolizer::plan(const Helper& helper) const {
  os::SpawnPlan plan;
  std::string places;
  for (const auto& path : setup_.programs) {
    if (auto found = os::find_program(path, ""); found) {
      plan.program = *found;
      break;
    }
    places += (places.empty() ? "" : " nor at ") + path;
  }
  if (plan.program.empty()) return base::Error{ENOENT, "not found at " + places};
  plan.argv = {plan.program};
  plan.argv.insert(plan.argv.end(), setup_.arguments.begin(), setup_.arguments.end());
  plan.directory = "/";
  plan.limits = limits();
  plan.no_new_privs = true;
  plan.usual_oom_score = true;
  if (!helper.user.empty()) {
    auto user = os::find_user(helper.user);
    if (!user) return user.error();
    plan.credentials = *std::move(user);
  }
  return plan;
}

base::Result<void> Symbolizer::start(Helper& helper) {
  auto planned = plan(helper);
  if (!planned) return planned.error();
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return base::errno_error("a socket for refork-symbolizer");
  base::UniqueFd own(ends[0]), its(ends[1]);
  const base::UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  planned->input = its.get();
  planned->output = null.get();
  auto spawned = os::spawn(*planned);
  if (!spawned) return spawned.error();
  helper.spawned = *std::move(spawned);
  helper.socket = std::move(own);
  Helper* raw = &helper;
  helper.answer_source =
      loop_.watch(helper.socket.get(), EPOLLIN, [this, raw](std::uint32_t) { receive(*raw); });
  helper.exit_source =
      loop_.watch(helper.spawned.pidfd.get(), EPOLLIN, [this, raw](std::uint32_t) { on_exit(*raw); });
  return {};
}

// What does not fit its queue now is sent when it has answered something.
void Symbolizer::send(Helper& helper) {
  while (helper.socket && !helper.unsent.empty()) {
    Question& first = helper.unsent.front();
    if (first.reply &&
        os::send_packet(helper.socket.get(), first.packet, first.executable.get(), MSG_DONTWAIT) < 0)
      return;
    if (helper.sent.empty()) helper.heard = core::Clock::now();
    if (first.reply) helper.sent.push_back(std::move(first));
    helper.unsent.pop_front();
  }
}

void Symbolizer::receive(Helper& helper) {
  std::vector<char> buffer(proto::max_symbol_packet);
  for (int i = 0; i < answers_a_turn && helper.socket; ++i) {
    const auto count = ::recv(helper.socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return send(helper);
    if (count <= 0) return loop_.park(std::move(helper.answer_source));  // its exit follows
    std::optional<proto::SymbolAnswer> answer;
    if (static_cast<std::size_t>(count) <= buffer.size())
      if (auto decoded = proto::decode_symbol_answer({buffer.data(), static_cast<std::size_t>(count)}))
        answer = *std::move(decoded);
    if (!answer || helper.sent.empty() || helper.sent.front().id != answer->id) {
      complain("it answers what was not asked");
      return stop(helper);
    }
    complained_ = false;
    helper.heard = core::Clock::now();
    const Reply reply = std::move(helper.sent.front().reply);
    helper.sent.pop_front();
    if (reply) reply(std::move(answer));
  }
  send(helper);
}

void Symbolizer::stop(Helper& helper) {
  loop_.park(std::move(helper.answer_source));
  os::signal_process(helper.spawned.pidfd.get(), SIGKILL);  // its exit follows
}

void Symbolizer::on_exit(Helper& helper) {
  for (std::size_t i = 0; helper.answer_source && i < max_waiting; ++i) receive(helper);  // its last words
  const auto status = os::reap(helper.spawned.pidfd.get());
  if (!status) return;
  const bool idle = status->code == 0;
  if (const auto failure = os::read_spawn_failure(helper.spawned.errors.get()))
    complain(failure->step + ": " + std::strerror(failure->code));
  else if (!idle)
    complain(status->signal ? "ended by signal " + std::to_string(*status->signal)
                            : "exited with code " + std::to_string(status->code.value_or(-1)));
  loop_.park(std::move(helper.answer_source));
  loop_.park(std::move(helper.exit_source));
  helper.socket.reset();
  helper.spawned = {};
  if (!idle && !helper.sent.empty()) {
    const Reply reply = std::move(helper.sent.front().reply);
    helper.sent.pop_front();
    if (reply) reply(std::nullopt);
  }
  for (; !helper.sent.empty(); helper.sent.pop_back())
    helper.unsent.push_front(std::move(helper.sent.back()));
  work(helper);
}

void Symbolizer::give_up(std::deque<Question>& questions) {
  for (auto& question : std::exchange(questions, {}))
    if (question.reply) question.reply(std::nullopt);
}

// Those that are too late. What was sent keeps its place in the order of answers.
void Symbolizer::on_time() {
  const auto now = core::Clock::now();
  std::vector<Reply> late;
  for (const auto& [user, helper] : helpers_)
    for (auto* questions : {&helper->sent, &helper->unsent})
      for (auto& question : *questions)
        if (question.reply && question.deadline <= now)
          late.push_back(std::exchange(question.reply, nullptr));
  for (const auto& reply : late) reply(std::nullopt);
  for (const auto& [user, helper] : helpers_) {
    if (helper->socket && !helper->sent.empty() && helper->heard + setup_.silence <= now) {
      complain("it does not answer");
      helper->heard = now;
      stop(*helper);
    }
    work(*helper);
  }
  rearm();
}

void Symbolizer::rearm() {
  std::optional<core::Time> first;
  const auto consider = [&first](core::Time at) { first = std::min(first.value_or(at), at); };
  for (const auto& [user, helper] : helpers_) {
    for (const auto* questions : {&helper->sent, &helper->unsent})
      for (const auto& question : *questions)
        if (question.reply) consider(question.deadline);
    if (helper->socket && !helper->sent.empty()) consider(helper->heard + setup_.silence);
    if (!helper->socket && !helper->unsent.empty() && helper->started)
      consider(*helper->started + restart_interval);
  }
  if (first)
    Loop::arm(timer_, *first);
  else
    Loop::disarm(timer_);
}

void Symbolizer::list_pids(std::vector<pid_t>& pids) const {
  for (const auto& [user, helper] : helpers_)
    if (helper->socket) pids.push_back(helper->spawned.pid);
}

// Once, until it works again.
void Symbolizer::complain(const std::string& why) {
  if (!complained_)
    log::warning("refork-symbolizer: " + why + "; failures are recorded without the names of functions");
  complained_ = true;
}

}  // namespace refork::supervisor
