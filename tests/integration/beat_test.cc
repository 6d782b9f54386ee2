// The loops of the adapters tell the watchdog that they run, and nobody else.
#include <gtest/gtest.h>

#include <string>

#include "integration/fake_primary.h"
#include "support/http.h"

namespace refork::test {
namespace {

class Beats : public testing::TestWithParam<const char*> {
 protected:
  static FakePrimary start() {
    FakePrimary::Options options;
    options.arguments = {"--port", "0"};
    return FakePrimary(built_program(std::string("examples/") + GetParam()), options);
  }
  static void welcome(FakePrimary& primary, std::uint32_t watchdog_ms) {
    primary.expect<proto::Hello>();
    proto::Welcome welcome;
    welcome.service = "web";
    welcome.watchdog_ms = watchdog_ms;
    primary.send(welcome);
    primary.expect<proto::Ready>();
  }
};
INSTANTIATE_TEST_SUITE_P(Examples, Beats,
                         testing::Values("http_asio", "http_libevent", "http_uv", "http_threads"),
                         [](const auto& tested) { return std::string(tested.param); });

TEST_P(Beats, ComeAsOftenAsTheWatchdogWants) {
  FakePrimary primary = start();
  welcome(primary, 400);
  const auto beats = [&] { return primary.recorder().beats(); };
  ASSERT_TRUE(wait_until([&] { return beats().size() == 1; }));
  EXPECT_EQ(beats()[0].thread, static_cast<std::uint32_t>(primary.process().pid()));
  // It beats again: its age falls.
  for (int i = 0; i < 3; ++i) {
    std::uint64_t oldest = 0;
    EXPECT_TRUE(wait_until([&] {
      const auto age = beats().at(0).age_ms;
      const bool fell = age < oldest;
      oldest = std::max(oldest, age);
      return fell;
    }));
  }
}

TEST_P(Beats, AreNotMadeWhereNobodyLooks) {
  FakePrimary primary = start();
  welcome(primary, 0);
  const auto line = primary.process().wait_for_line("listening on ");
  ASSERT_TRUE(line);
  const auto address = *Address::parse(line->substr(line->find("tcp://")));
  EXPECT_EQ(http_get(address, "/?delay=100").status, 200);
  EXPECT_TRUE(primary.recorder().beats().empty());
}

}  // namespace
}  // namespace refork::test
