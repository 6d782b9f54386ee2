// What a server does with librefork, in small: exits with 0 if all of it works across the library's border.

#include <cstdio>
#include <refork/domain.hpp>
#include <refork/worker.hpp>
#include <stdexcept>
#include <string>
#include <system_error>

namespace {

class Connection : public refork::Emitter {
 public:
  using Emitter::Emitter;
};

struct Oops : std::runtime_error {
  using runtime_error::runtime_error;
};

bool captures_what_is_thrown() {
  std::string message;
  refork::Domain domain("request");
  domain.on_error([&](const refork::Failure& failure) { message = failure.type + ": " + failure.message; });
  const bool ran = domain.run([] { throw Oops("broken"); });
  return !ran && message.find("Oops: broken") != message.npos;
}

// A domain without a handler lets it pass, and a catch on the way wins over the domains around.
bool passes_on_what_is_not_captured() {
  std::string caught;
  const refork::Domain outer("outer"), bare("bare");
  outer.on_error([&](const refork::Failure&) { caught += "by the domain"; });
  outer.run([&] {
    try {
      bare.run([] { throw Oops("outward"); });
    } catch (const Oops& oops) {
      caught += oops.what();
    }
  });
  return caught == "outward";
}

bool hears_of_what_a_member_reports() {
  std::string emitter;
  refork::Domain domain("connection");
  domain.on_error([&](const refork::Failure& failure) { emitter = failure.emitter; });
  Connection connection("socket");
  domain.add(connection);
  connection.report(std::make_error_code(std::errc::connection_reset));
  return emitter == "socket";
}

bool check(const char* what, bool good) {
  std::printf("%s: %s\n", what, good ? "yes" : "NO");
  return good;
}

}  // namespace

int main() {
  refork::Worker::Options options;
  options.drive = refork::Worker::Drive::fd;
  refork::Worker worker(options);
  bool good = check("alone", !worker.supervised());
  refork::Request request = worker.begin("GET /");
  good &= check("captures what is thrown", captures_what_is_thrown());
  request.end();
  good &= check("passes on what is not captured", passes_on_what_is_not_captured());
  good &= check("hears of what a member reports", hears_of_what_a_member_reports());
  std::fflush(stdout);
  return good ? 0 : 1;
}
