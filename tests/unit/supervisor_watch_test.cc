// What is found out about a worker by looking at its flight recorder; the worker is this very process.
#include "supervisor/watch.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "recorder/writer.h"
#include "support/process.h"

namespace refork::supervisor {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

core::ServiceConfig config_of(std::optional<milliseconds> watchdog,
                              std::optional<milliseconds> request_timeout) {
  core::ServiceConfig config;
  config.name = "web";
  config.command = {"/bin/web"};
  config.watchdog = watchdog;
  config.request_timeout = request_timeout;
  return config;
}

// One worker, id 1, that serves; it ends the loop when enough was told of it.
class OneWorker : public Watch::Ward {
 public:
  explicit OneWorker(core::ServiceConfig config)
      : service_(
            std::move(config), [] { return core::WorkerId{1}; }, [] { return 0.0; }) {
    recorder::Identity identity{};
    std::strcpy(identity.service, "web");
    reader_.emplace(*recorder::Reader::create(identity));
    writer = *recorder::Writer::attach(base::UniqueFd(::fcntl(reader_->fd(), F_DUPFD_CLOEXEC, 0)));
    EXPECT_TRUE(service_.start(core::Clock::now(), effects));
    service_.on_ready(1, core::Clock::now(), effects);
  }

  // Until so many failures were told, or it takes too long.
  void run_until(std::size_t reports) {
    wanted_ = reports;
    auto patience = loop.timer([this] { loop.exit(1); });
    Loop::arm(patience, core::Clock::now() + test::kProcessPatience);
    loop.run();
  }
  const core::Worker& worker() const { return service_.workers().at(1); }

  const core::Service& service() const override { return service_; }
  std::optional<Watch::Patient> patient(core::WorkerId) const override {
    return Watch::Patient{&worker(), &subject_, linked ? &*reader_ : nullptr};
  }
  void feed(const std::function<void(core::Service&, core::Time, core::Effects&)>& input) override {
    input(service_, core::Clock::now(), effects);
    if (records.size() >= wanted_) loop.exit(0);
  }
  void report(const Subject&, proto::FailureRecord record, bool) override {
    records.push_back(std::move(record));
  }
  void announce(const core::Worker&, core::EventType type, std::string) override {
    events.emplace_back(type.name());
  }

  Loop loop;
  bool linked = true;
  recorder::Writer* writer = nullptr;
  core::Effects effects;
  std::vector<proto::FailureRecord> records;
  std::vector<std::string> events;

 private:
  core::Service service_;
  const Subject subject_{"web", 0, 1, ::getpid(), 1};
  std::optional<recorder::Reader> reader_;
  std::size_t wanted_ = 1;
};

TEST(Watch, ARequestsOwnTimeoutIsLookedAfterWhereThereIsOneForAll) {
  OneWorker one(config_of({}, std::chrono::hours(24)));
  one.writer->begin("GET /slow", 0, 10);
  one.writer->begin("GET /fast", 0, 0);
  Watch watch(one.loop, one, one.service().config());
  one.run_until(1);
  ASSERT_EQ(one.records.size(), 1u);
  EXPECT_EQ(one.records[0].kind, Kind::timeout);
  EXPECT_EQ(one.records[0].message, "a request takes longer than 10 ms");
  EXPECT_EQ(one.records[0].request->label, "GET /slow");
  EXPECT_EQ(one.records[0].in_flight_at_failure, 2u);
  EXPECT_TRUE(one.worker().tainted);
}

TEST(Watch, ARequestsOwnTimeoutIsLookedAfterWhereNothingElseIs) {
  OneWorker one(config_of({}, {}));
  Watch watch(one.loop, one, one.service().config());
  const auto token = one.writer->begin("GET /slow", 0, 0);
  one.writer->begin("GET /as-long-as-it-likes", 0, 0);
  EXPECT_TRUE(one.writer->set_timeout(token, 10)) << "the first";
  EXPECT_FALSE(one.writer->set_timeout(token, 20)) << "nobody has to be told twice";
  watch.look_after_requests();
  one.run_until(1);
  ASSERT_EQ(one.records.size(), 1u);
  EXPECT_EQ(one.records[0].request->label, "GET /slow");
}

TEST(Watch, OfVeryManyRequestsThatTakeTooLongSomeAreRecordedEachOnce) {
  OneWorker one(config_of({}, milliseconds(10)));
  for (std::size_t i = 0; i < 2 * Watch::max_timeouts; ++i) one.writer->begin(std::to_string(i), 0, 0);
  Watch watch(one.loop, one, one.service().config());
  one.run_until(Watch::max_timeouts);
  EXPECT_EQ(one.records.size(), Watch::max_timeouts);
  std::set<std::string> labels;
  for (const auto& record : one.records) labels.insert(record.request->label);
  EXPECT_EQ(labels.size(), Watch::max_timeouts);
}

recorder::InFlight since(std::uint64_t age_ms, std::uint32_t own_timeout_ms = 0) {
  recorder::InFlight request;
  request.age_ms = age_ms;
  request.timeout_ms = own_timeout_ms;
  return request;
}

TEST(Watch, LooksAgainWhenTheNextRequestMayBeLate) {
  const auto next = &Watch::until_next_look;
  constexpr milliseconds step{10};  // of the clock of their ages
  EXPECT_EQ(next({}, milliseconds(300)), milliseconds(300)) << "one that begins now is late then";
  EXPECT_EQ(next({}, milliseconds(3000)), Watch::longest_interval);
  EXPECT_EQ(next({}, {}), Watch::longest_interval);
  EXPECT_EQ(next({}, milliseconds(1)), Watch::shortest_interval);
  EXPECT_EQ(next({since(2100), since(2500)}, milliseconds(3000)), milliseconds(500) + step);
  EXPECT_EQ(next({since(2000)}, milliseconds(3000)), Watch::longest_interval);
  EXPECT_EQ(next({since(2999)}, milliseconds(3000)), Watch::shortest_interval);
  EXPECT_EQ(next({since(3000)}, milliseconds(3000)), Watch::longest_interval) << "that was told";
  EXPECT_EQ(next({since(100, 400)}, milliseconds(3000)), milliseconds(300) + step) << "by its own time";
  EXPECT_EQ(next({since(100, 400)}, {}), milliseconds(300) + step);
  EXPECT_EQ(next({since(100)}, {}), Watch::longest_interval) << "it has none";
}

TEST(Watch, AThreadThatBeatOnceAndNeverAgainHangs) {
  OneWorker one(config_of(milliseconds(200), {}));
  one.writer->beat();
  Watch watch(one.loop, one, one.service().config());
  one.run_until(1);
  ASSERT_EQ(one.records.size(), 1u);
  EXPECT_EQ(one.records[0].kind, Kind::hang);
  EXPECT_THAT(one.records[0].message, HasSubstr("(watchdog 200 ms)"));
  EXPECT_FALSE(one.records[0].threads.empty()) << "at least as the kernel sees them";
  EXPECT_TRUE(one.worker().hung);
}

TEST(Watch, AWorkerThatNeverBeatIsNotWatched) {
  OneWorker one(config_of(milliseconds(100), milliseconds(800)));
  one.writer->begin("GET /slow", 0, 0);
  Watch watch(one.loop, one, one.service().config());
  one.run_until(1);
  ASSERT_EQ(one.records.size(), 1u);
  EXPECT_EQ(one.records[0].kind, Kind::timeout) << "which takes eight times as long";
}

TEST(Watch, WithoutLibreforkItsNotificationsAreItsBeats) {
  OneWorker one(config_of(milliseconds(200), {}));
  one.linked = false;
  Watch watch(one.loop, one, one.service().config());
  watch.beat(1);
  one.run_until(1);
  ASSERT_EQ(one.records.size(), 1u);
  EXPECT_EQ(one.records[0].kind, Kind::hang);
}

}  // namespace
}  // namespace refork::supervisor
