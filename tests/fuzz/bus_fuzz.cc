// Whoever may reach the control socket may call any method with any arguments: the server never crashes, and
// answers each call exactly once. The input is a little program: which object and method, how the operation
// goes, and values of any type, or of the types that the method has.

#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/bus.h"
#include "bus/methods.h"
#include "bus/sdbus.h"

namespace refork::bus {
namespace {

constexpr int most_turns = 200, deepest = 4, most_values = 8;

void require(bool holds) {
  if (!holds) std::abort();
}

// Takes the input apart; at its end everything is zero.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  std::uint8_t byte() { return size_ == 0 ? std::uint8_t{0} : (--size_, *data_++); }
  std::uint64_t number() {
    std::uint64_t number = 0;
    for (int i = byte() % 9; i > 0; --i) number = number << 8 | byte();
    return number;
  }
  std::string text() {
    std::string text(byte(), '\0');
    text.resize(std::min(text.size(), size_));
    for (char& c : text) c = static_cast<char>(byte());
    return text.substr(0, text.find('\0'));
  }
  bool ended() const { return size_ == 0; }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

// Answers at once, later, with an error or with an exception, as it is told.
class Puppet : public core::Operations {
 public:
  enum class Way {
    answers,
    fails,
    throws,
    waits
  };
  Way way = Way::answers;
  core::DaemonStatus now;
  std::string text;
  std::vector<std::function<void()>> waiting;

  core::DaemonStatus status() override { return now; }
  base::Result<core::Why> why(std::string_view target) override {
    if (way == Way::throws) throw std::runtime_error(text);
    if (way == Way::fails) return base::Error{ENOENT, text + std::string(target)};
    return core::Why{};
  }
  void asked(std::string_view, std::string_view) override {}
  void start(std::string_view, Done done) override { go<void>(done, {}); }
  void stop(std::string_view, Done done) override { go<void>(done, {}); }
  void restart(std::string_view, Done done) override { go<void>(done, {}); }
  void reload(std::string_view, Done done) override { go<void>(done, {}); }
  void scale(std::string_view, std::uint32_t, Done done) override { go<void>(done, {}); }
  void drain(std::string_view, Done done) override { go<void>(done, {}); }
  void kill(std::string_view, Done done) override { go<void>(done, {}); }
  void send(std::string_view, std::string_view, Done done) override { go<void>(done, {}); }
  void failures(const core::FailureFilter& filter, Reply<std::vector<std::string>> reply) override {
    go<std::vector<std::string>>(reply, std::vector<std::string>{filter.service, filter.kind, text});
  }
  void top_failures(const core::FailureFilter& filter, Reply<std::vector<std::string>> reply) override {
    failures(filter, std::move(reply));
  }
  void failure(std::string_view id, Reply<std::string> reply) override {
    go<std::string>(reply, text + std::string(id));
  }
  void clear_failures(std::string_view, Reply<std::uint64_t> reply) override { go<std::uint64_t>(reply, 1); }
  void reexec(Done done) override { go<void>(done, {}); }

 private:
  template <class T, class Answer>
  void go(const Answer& answer, const base::Result<T>& result) {
    if (way == Way::throws) throw std::runtime_error(text);
    if (way == Way::answers) return answer(result);
    if (way == Way::fails) return answer(base::Error{EINVAL, text});
    waiting.push_back([answer, result] { answer(result); });
  }
};

// The real server and one client of it, in one loop; made once.
class Scene {
 public:
  Scene() {
    std::string directory = std::filesystem::temp_directory_path() / "refork-fuzz-XXXXXX";
    require(::mkdtemp(directory.data()) != nullptr && sd_event_new(&loop_) >= 0);
    auto bus = Bus::listen(loop_, directory + "/control", operations);
    require(bus.ok());
    bus_ = std::move(*bus);
    sd_bus* made = nullptr;
    require(sd_bus_new(&made) >= 0);
    client_.reset(made);
    require(sd_bus_set_address(made, ("unix:path=" + directory + "/control").c_str()) >= 0);
    require(sd_bus_start(made) >= 0);
    for (int i = 0; i < most_turns && sd_bus_is_ready(made) <= 0; ++i) turn();
    require(sd_bus_is_ready(made) > 0);
    std::filesystem::remove_all(directory);
  }
  sd_bus* client() const { return client_.get(); }
  void turn() const {
    sd_event_run(loop_, 0);
    while (sd_bus_process(client_.get(), nullptr) > 0) {
    }
  }
  // Sends it, and waits for the one answer and for what would be a second one.
  void call(sd_bus_message* message) {
    int answers = 0;
    sd_bus_slot* slot = nullptr;
    if (sd_bus_call_async(client_.get(), &slot, message, on_answer, &answers, 0) < 0) return;
    const SlotPtr owned(slot);
    for (int i = 0; i < most_turns && answers == 0; ++i) {
      turn();
      // What the operation left for later; it may ask for more.
      for (const auto& answer : std::exchange(operations.waiting, {})) answer();
    }
    require(answers == 1 && sd_bus_is_open(client_.get()) > 0);
  }
  void changed() const { bus_->changed(); }

  Puppet operations;

 private:
  static int on_answer(sd_bus_message*, void* userdata, sd_bus_error*) noexcept {
    ++*static_cast<int*>(userdata);
    return 0;
  }
  sd_event* loop_ = nullptr;
  std::unique_ptr<Bus> bus_;
  BusPtr client_;
};

struct Method {
  std::string path, interface, member, signature;
};

std::vector<Method> methods_of(const std::string& path, const std::string& interface,
                               std::span<const sd_bus_vtable> rows) {
  std::vector<Method> all;
  for (const auto& row : rows)
    if (row.type == _SD_BUS_VTABLE_METHOD)
      all.push_back(
          {path, interface, row.x.method.member, row.x.method.signature ? row.x.method.signature : ""});
  return all;
}

std::vector<Method> known_methods() {
  const std::string root = "/org/refork1", service = root + "/service/web_2d1", worker = root + "/worker/17";
  std::vector<Method> all;
  for (const auto& some : {methods_of(root, "org.refork1.Manager", manager_methods()),
                           methods_of(service, "org.refork1.Service", service_methods()),
                           methods_of(worker, "org.refork1.Worker", worker_methods()),
                           methods_of("/org/freedesktop/DBus", "org.freedesktop.DBus", driver_methods())})
    all.insert(all.end(), some.begin(), some.end());
  const std::string properties = "org.freedesktop.DBus.Properties";
  for (const auto& path : {root, service, worker}) {
    all.push_back({path, properties, "Get", "ss"});
    all.push_back({path, properties, "GetAll", "s"});
    all.push_back({path, properties, "Set", "ssv"});
    all.push_back({path, "org.freedesktop.DBus.Introspectable", "Introspect", ""});
    all.push_back({path, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", ""});
  }
  all.push_back({root, "org.freedesktop.DBus.Peer", "Ping", ""});
  return all;
}

// Words that mean something somewhere, so that a text need not be guessed.
std::string word(Input& input) {
  static constexpr std::array<const char*, 18> words = {"web-1",
                                                        "web-1/0",
                                                        "17",
                                                        "service",
                                                        "kind",
                                                        "since_ms",
                                                        "limit",
                                                        "Version",
                                                        "Workers",
                                                        "State",
                                                        "Served",
                                                        "history",
                                                        "org.refork1.Worker",
                                                        "org.refork1.Manager",
                                                        "{\"a\":1}",
                                                        "",
                                                        "/",
                                                        "org.refork1.Service"};
  const std::uint8_t which = input.byte();
  return which < 2 * words.size() ? words[which / 2] : input.text();
}

void append_basic(sd_bus_message* message, char type, Input& input) {
  if (type == 's' || type == 'o' || type == 'g') {
    // What is no string of D-Bus is refused here already.
    sd_bus_message_append_basic(message, type, word(input).c_str());
    return;
  }
  if (type == 'h') {
    const int fd = STDERR_FILENO;
    sd_bus_message_append_basic(message, type, &fd);
    return;
  }
  const std::uint64_t number = input.number();
  const int truth = static_cast<int>(number % 2);
  sd_bus_message_append_basic(message, type, type == 'b' ? static_cast<const void*>(&truth) : &number);
}

// The end of the one complete type that begins there.
std::size_t end_of_type(std::string_view signature, std::size_t at) {
  while (at < signature.size() && signature[at] == 'a') ++at;
  int depth = 0;
  for (; at < signature.size(); ++at) {
    if (signature[at] == '(' || signature[at] == '{') ++depth;
    if (signature[at] == ')' || signature[at] == '}') --depth;
    if (depth <= 0) return at + 1;
  }
  return at;
}

void append(sd_bus_message* message, std::string_view signature, Input& input, int depth);

void append_container(sd_bus_message* message, char kind, const std::string& contents, int times,
                      Input& input, int depth) {
  if (sd_bus_message_open_container(message, kind, contents.c_str()) < 0) return;
  for (int i = 0; i < times; ++i) append(message, contents, input, depth + 1);
  sd_bus_message_close_container(message);
}

// "sv" of nothing, too: what is too deep stays empty.
void append(sd_bus_message* message, std::string_view signature, Input& input, int depth) {
  static constexpr std::array<const char*, 12> variants = {"s", "u",  "t",     "b",   "as", "a{sv}",
                                                           "v", "ay", "(sut)", "aas", "o",  "d"};
  for (std::size_t at = 0; at < signature.size();) {
    const std::size_t end = end_of_type(signature, at);
    const std::string inner(signature.substr(at + 1, end - at - 1));
    const char type = signature[at];
    at = end;
    if (type == 'v')
      append_container(message, 'v', depth < deepest ? variants[input.byte() % variants.size()] : "s", 1,
                       input, depth);
    else if (type == 'a')
      append_container(message, 'a', inner, depth < deepest ? input.byte() % most_values : 0, input, depth);
    else if (type == '(' || type == '{')
      append_container(message, type == '(' ? 'r' : 'e', inner.substr(0, inner.size() - 1), 1, input, depth);
    else
      append_basic(message, type, input);
  }
}

std::string any_signature(Input& input) {
  static constexpr std::array<const char*, 20> types = {
      "s", "b", "u",  "t",     "i",     "x", "y",       "n",     "q",    "d",
      "o", "g", "as", "a{sv}", "(sut)", "v", "a(sasv)", "a{us}", "aaay", "h"};
  std::string signature;
  for (int i = input.byte() % most_values; i > 0; --i) signature += types[input.byte() % types.size()];
  return signature;
}

core::DaemonStatus one_service(const std::string& name) {
  core::DaemonStatus status;
  core::ServiceStatus service;
  service.name = name;
  service.workers.resize(1);
  service.workers[0].id = 17;
  status.services = {service};
  return status;
}

void run(Scene& scene, Input& input) {
  static const std::vector<Method> known = known_methods();
  const std::uint8_t mode = input.byte();
  scene.operations.way = Puppet::Way(mode % 4);
  scene.operations.text = mode & 4 ? input.text() : "";
  if (mode & 8) {
    scene.operations.now = one_service(mode & 16 ? input.text() : "web-1");
    scene.changed();
  }
  while (!input.ended()) {
    Method method = known[input.byte() % known.size()];
    const std::uint8_t twist = input.byte();
    if (twist & 1) method.path = word(input);
    if (twist & 2) method.interface = word(input);
    if (twist & 4) method.member = word(input);
    if (twist & 8) method.signature = any_signature(input);
    sd_bus_message* made = nullptr;
    if (sd_bus_message_new_method_call(scene.client(), &made, nullptr, method.path.c_str(),
                                       method.interface.empty() ? nullptr : method.interface.c_str(),
                                       method.member.c_str()) < 0)
      continue;
    const MessagePtr message(made);
    append(made, method.signature, input, 0);
    scene.call(made);
  }
}

}  // namespace
}  // namespace refork::bus

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static auto* const scene = new refork::bus::Scene;
  if (size > 4096) return 0;
  refork::bus::Input input(data, size);
  scene->operations.now = refork::bus::one_service("web-1");
  refork::bus::run(*scene, input);
  return 0;
}
