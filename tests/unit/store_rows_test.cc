// What is put into the store and what comes out of it, while the disk is well.
#include <gmock/gmock.h>

#include "proto/record.h"
#include "unit/store_support.h"

namespace refork::store::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class StoreRows : public ::testing::Test {
 protected:
  TempDir dir_;
  std::optional<Loop> loop_{std::in_place, dir_.state()};
  void reopen(core::StoreConfig config = {}) {
    loop_.reset();
    loop_.emplace(dir_.state(), config);
  }
};

TEST_F(StoreRows, AFailureIsListedAndStillThereAfterARestart) {
  ASSERT_TRUE(loop_->add(failure("a1")));
  EXPECT_THAT(loop_->ids(), ElementsAre("a1"));
  reopen();
  EXPECT_THAT(loop_->ids(), ElementsAre("a1"));
}

TEST_F(StoreRows, AResentFailureIsStoredOnceAndToldStoredEachTime) {
  ASSERT_TRUE(loop_->add(failure("a1")));
  ASSERT_TRUE(loop_->add(failure("a1")));
  EXPECT_THAT(loop_->ids(), ElementsAre("a1"));
}

TEST_F(StoreRows, AHigherRevisionReplacesAndALowerOneChangesNothing) {
  core::FailureRow first = failure("a1"), second = first, third = first;
  second.revision = 2;
  second.kind = "deadline";
  second.record = R"({"id":"a1","message":"amended"})";
  third.revision = 1;
  third.record = R"({"id":"a1","message":"late"})";
  ASSERT_TRUE(loop_->add(first));
  ASSERT_TRUE(loop_->add(second));
  ASSERT_TRUE(loop_->add(third));
  const auto records = loop_->list();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].at("message"), "amended");
  EXPECT_THAT(loop_->ids({"", "deadline", {}, 50}), ElementsAre("a1"));
}

TEST_F(StoreRows, AnEndCompletesAllFailuresOfItsWorkerAndNoOthers) {
  ASSERT_TRUE(loop_->add(failure("a1", 7)));
  ASSERT_TRUE(loop_->add(failure("a2", 7)));
  ASSERT_TRUE(loop_->add(failure("a3", 8)));
  ASSERT_TRUE(loop_->end(end_of(7)));
  const auto records = loop_->list();
  ASSERT_EQ(records.size(), 3u);
  EXPECT_TRUE(records[0].at("drain").is_null());
  for (std::size_t i : {1u, 2u}) {
    EXPECT_EQ(records[i].at("drain").at("outcome"), "clean");
    EXPECT_EQ(records[i].at("exit").at("code"), 1);
  }
}

TEST_F(StoreRows, AFailureThatComesAfterItsWorkersEndIsCompletedToo) {
  ASSERT_TRUE(loop_->end(end_of(7)));
  ASSERT_TRUE(loop_->add(failure("a1", 7)));
  EXPECT_EQ(loop_->list().at(0).at("drain").at("requested"), "error");
}

TEST_F(StoreRows, AnAmendedRecordKeepsItsDrain) {
  core::FailureRow row = failure("a1", 7);
  ASSERT_TRUE(loop_->add(row));
  ASSERT_TRUE(loop_->end(end_of(7)));
  row.revision = 2;
  row.record = R"({"id":"a1","message":"amended"})";
  ASSERT_TRUE(loop_->add(row));
  EXPECT_EQ(loop_->list().at(0).at("message"), "amended");
  EXPECT_EQ(loop_->list().at(0).at("drain").at("outcome"), "clean");
}

TEST_F(StoreRows, AProcessHasOneEndAndTheFirstOneStands) {
  ASSERT_TRUE(loop_->add(failure("a1", 7)));
  ASSERT_TRUE(loop_->end(end_of(7)));
  core::EndRow again = end_of(7);
  again.drain = R"({"outcome":"died"})";
  ASSERT_TRUE(loop_->end(again));
  EXPECT_EQ(loop_->list().at(0).at("drain").at("outcome"), "clean");
}

TEST_F(StoreRows, AListIsNewestFirstAndFilteredByServiceKindTimeAndLimit) {
  const std::uint64_t now = failure("").time_ms;
  core::FailureRow other = failure("o1", 1, now - 1000);
  other.service = "api";
  other.kind = "signal";
  ASSERT_TRUE(loop_->add(failure("w2", 1, now - 2000)));
  ASSERT_TRUE(loop_->add(other));
  ASSERT_TRUE(loop_->add(failure("w3", 1, now)));
  ASSERT_TRUE(loop_->add(failure("w1", 1, now - 3000)));
  EXPECT_THAT(loop_->ids(), ElementsAre("w3", "o1", "w2", "w1"));
  EXPECT_THAT(loop_->ids({"web", "", {}, 50}), ElementsAre("w3", "w2", "w1"));
  EXPECT_THAT(loop_->ids({"", "signal", {}, 50}), ElementsAre("o1"));
  EXPECT_THAT(loop_->ids({"", "", now - 2000, 50}), ElementsAre("w3", "o1", "w2"));
  EXPECT_THAT(loop_->ids({"", "", now - 1999, 50}), ElementsAre("w3", "o1"));
  EXPECT_THAT(loop_->ids({"", "", {}, 2}), ElementsAre("w3", "o1"));
  EXPECT_THAT(loop_->ids({"none", "", {}, 50}), IsEmpty());
}

core::FailureRow same(const std::string& id, const std::string& fingerprint, std::uint64_t time_ms,
                      std::uint64_t count = 1, const std::string& service = "web") {
  core::FailureRow row = failure(id, 1, time_ms);
  row.fingerprint = fingerprint;
  row.count = count;
  row.service = service;
  const Json stack = {{{"function", "raise"}, {"in_app", false}},
                      {{"function", "of_" + id}, {"in_app", true}}};
  row.record =
      Json{{"id", id}, {"kind", "exception"}, {"type", "int"}, {"message", id}, {"stack", stack}}.dump();
  return row;
}

TEST_F(StoreRows, TheSameFailuresAreOneGroupTheMostFrequentFirst) {
  const std::uint64_t now = failure("").time_ms;
  ASSERT_TRUE(loop_->add(same("a2", "aa", now - 1000, 7)));
  ASSERT_TRUE(loop_->add(same("a1", "aa", now - 3000, 2, "api")));
  ASSERT_TRUE(loop_->add(same("a0", "aa", now - 4000)));
  ASSERT_TRUE(loop_->add(same("b1", "bb", now, 11)));
  ASSERT_TRUE(loop_->add(same("c1", "cc", now - 500, 10)));
  const auto groups = loop_->top();
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_EQ(groups[0].at("fingerprint"), "bb");
  EXPECT_EQ(groups[1].at("fingerprint"), "cc") << "as many, but later";
  const Json& group = groups[2];
  EXPECT_EQ(group.at("count"), 10u);
  EXPECT_EQ(group.at("records"), 3u);
  EXPECT_EQ(group.at("first_ms"), now - 4000);
  EXPECT_EQ(group.at("last_ms"), now - 1000);
  EXPECT_EQ(group.at("first").get<std::string>().size(), std::string("2026-11-22T05:00:00.000Z").size());
  EXPECT_EQ(group.at("services"), Json({"api", "web"}));
  EXPECT_EQ(group.at("id"), "a2");
  EXPECT_EQ(group.at("kind"), "exception");
  EXPECT_EQ(group.at("type"), "int");
  EXPECT_EQ(group.at("message"), "a2");
  EXPECT_EQ(group.at("where").at("function"), "of_a2") << "the first frame of the application's own";
}

TEST_F(StoreRows, GroupsAreFilteredBeforeTheyAreCounted) {
  const std::uint64_t now = failure("").time_ms;
  ASSERT_TRUE(loop_->add(same("a1", "aa", now - 3000, 2, "api")));
  ASSERT_TRUE(loop_->add(same("a2", "aa", now, 7)));
  ASSERT_TRUE(loop_->add(same("b1", "bb", now, 1)));
  EXPECT_EQ(loop_->top({"api", "", {}, 50}).at(0).at("count"), 2u);
  EXPECT_EQ(loop_->top({"", "", now - 2000, 50}).at(0).at("count"), 7u);
  EXPECT_EQ(loop_->top({"", "", {}, 1}).size(), 1u);
  EXPECT_THAT(loop_->top({"", "boot", {}, 50}), IsEmpty());
}

TEST(StoreTables, AGroupCountsARowInBothPlacesOnce) {
  const TempDir dir;
  Tables tables;
  ASSERT_EQ(tables.attach(dir.path() + "/refork.db"), Tables::Attach::ok);
  const auto top = [&tables] {
    std::vector<std::string> groups;
    EXPECT_TRUE(tables.top({}, groups)) << tables.connection().failed()->words;
    return groups.empty() ? Json() : Json::parse(groups.front());
  };
  core::FailureRow row = same("a1", "aa", 1000, 60);
  ASSERT_TRUE(tables.keep(row) && tables.keep(same("a2", "aa", 999, 1)));
  EXPECT_EQ(top().at("count"), 61u);
  ASSERT_TRUE(tables.write_out(1));
  EXPECT_EQ(top().at("count"), 61u);
  row.record = R"({"id":"a1","type":"amended"})";
  row.revision = 2;
  ASSERT_TRUE(tables.keep(row));
  EXPECT_EQ(top().at("count"), 61u);
  EXPECT_EQ(top().at("type"), "amended");
  EXPECT_EQ(top().at("where"), Json());
  row.record = "no json";
  row.revision = 3;
  row.count = ~std::uint64_t{0};  // what a worker may claim
  ASSERT_TRUE(tables.keep(row) && tables.keep(same("a3", "aa", 998, (~std::uint64_t{0}) >> 1)));
  EXPECT_GE(top().at("count"), 61u);
}

TEST_F(StoreRows, AnAmendmentNeverStandsForFewerFailures) {
  core::FailureRow row = same("a1", "aa", 1000, 60);
  row.time_ms = failure("").time_ms;
  ASSERT_TRUE(loop_->add(row));
  row.revision = 2;
  row.count = 1;
  row.record = R"({"id":"a1","count":1,"type":"amended"})";
  ASSERT_TRUE(loop_->add(row));
  EXPECT_EQ(loop_->list().at(0).at("count"), 60u);
  EXPECT_EQ(loop_->list().at(0).at("type"), "amended");
  EXPECT_EQ(loop_->top().at(0).at("count"), 60u);
}

TEST(StoreTables, AListEndsBeforeItGrowsBeyondItsLimitOfBytes) {
  constexpr std::size_t half = Tables::max_list_bytes / 2;
  const auto big = [](const std::string& id, std::size_t bytes) {
    core::FailureRow row = failure(id);
    row.record = Json{{"id", id}, {"message", std::string(bytes, 'x')}}.dump();
    return row;
  };
  const auto listed = [](Tables& tables) {
    std::vector<std::string> records;
    EXPECT_TRUE(tables.list({}, records));
    return records.size();
  };
  Tables tables;
  ASSERT_TRUE(tables.keep(big("a1", half)));
  ASSERT_TRUE(tables.keep(big("a2", half - 4096)));  // what is composed around the messages is less than 4096
  EXPECT_EQ(listed(tables), 2u);
  ASSERT_TRUE(tables.keep(big("a3", 8192)));
  EXPECT_EQ(listed(tables), 2u);
}

TEST_F(StoreRows, AFailureIsShownByItsIdOrTheBeginningOfIt) {
  ASSERT_TRUE(loop_->add(failure("abc1", 7)));
  ASSERT_TRUE(loop_->add(failure("abd1")));
  ASSERT_TRUE(loop_->end(end_of(7)));
  const auto shown = loop_->show("abc");
  ASSERT_TRUE(shown.ok()) << shown.error().what;
  EXPECT_EQ(Json::parse(*shown).at("id"), "abc1");
  EXPECT_EQ(Json::parse(*shown).at("exit").at("code"), 1);
}

TEST_F(StoreRows, AnIdThatIsTheBeginningOfAnotherIsStillShown) {
  ASSERT_TRUE(loop_->add(failure("ab")));
  ASSERT_TRUE(loop_->add(failure("abc")));
  const auto shown = loop_->show("ab");
  ASSERT_TRUE(shown.ok()) << shown.error().what;
  EXPECT_EQ(Json::parse(*shown).at("id"), "ab");
}

TEST_F(StoreRows, AnUnknownIdIsENOENTAndAnEmptyOneEINVAL) {
  ASSERT_TRUE(loop_->add(failure("abc1")));
  const auto unknown = loop_->show("x%");
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().code, ENOENT);
  EXPECT_THAT(unknown.error().what, HasSubstr("x%"));
  const auto empty = loop_->show("");
  ASSERT_FALSE(empty.ok());
  EXPECT_EQ(empty.error().code, EINVAL);
}

TEST_F(StoreRows, AnAmbiguousIdIsEINVALWithTheCandidatesNamed) {
  for (std::size_t i = 1; i <= Tables::max_candidates; ++i)
    ASSERT_TRUE(loop_->add(failure("ab" + std::to_string(i))));
  const auto all_named = loop_->show("ab");
  ASSERT_FALSE(all_named.ok());
  EXPECT_EQ(all_named.error().code, EINVAL);
  EXPECT_THAT(all_named.error().what, AllOf(HasSubstr("ab1, ab2, ab3, ab4, ab5"), Not(HasSubstr("others"))));
  ASSERT_TRUE(loop_->add(failure("ab6")));
  EXPECT_THAT(loop_->show("ab").error().what, AllOf(HasSubstr("ab5 and others"), Not(HasSubstr("ab6"))));
}

TEST_F(StoreRows, ClearRemovesTheFailuresOfAServiceAndLeavesEnds) {
  core::FailureRow other = failure("o1");
  other.service = "api";
  ASSERT_TRUE(loop_->add(failure("w1", 7)));
  ASSERT_TRUE(loop_->add(failure("w2")));
  ASSERT_TRUE(loop_->add(other));
  ASSERT_TRUE(loop_->end(end_of(7)));
  const auto cleared = loop_->clear("web");
  ASSERT_TRUE(cleared.ok()) << cleared.error().what;
  EXPECT_EQ(*cleared, 2u);
  EXPECT_THAT(loop_->ids(), ElementsAre("o1"));
  ASSERT_TRUE(loop_->add(failure("w3", 7)));
  EXPECT_EQ(loop_->list().at(0).at("drain").at("outcome"), "clean");
  EXPECT_EQ(*loop_->clear(), 2u);
  EXPECT_THAT(loop_->ids(), IsEmpty());
}

// The fields that `reforkctl failures --json` promises, whatever the record came with.
TEST_F(StoreRows, EveryPromisedFieldIsThereAndNullWhereItDoesNotApply) {
  core::FailureRow row = failure("a1", 7);
  row.record = R"({"id":"a1"})";
  ASSERT_TRUE(loop_->add(row));
  const Json record = loop_->list().at(0);
  for (const char* field :
       {"id",     "time",    "service",    "slot",        "worker",  "pid",
        "kind",   "type",    "message",    "causes",      "domain",  "domains",
        "thrown", "emitter", "bound",      "rethrown",    "request", "context",
        "stack",  "threads", "fault",      "fingerprint", "count",   "in_flight_at_failure",
        "drain",  "exit",    "output_tail"})
    EXPECT_TRUE(record.contains(field)) << field;
  for (const char* field : {"threads", "fault", "output_tail", "drain", "exit", "request", "message"})
    EXPECT_TRUE(record.at(field).is_null()) << field;
  EXPECT_EQ(record.at("service"), "web");
  EXPECT_EQ(record.at("slot"), 3);
  EXPECT_EQ(record.at("worker"), 7);
  EXPECT_EQ(record.at("count"), 1);
}

TEST_F(StoreRows, ARecordIsShownWithEveryFieldThatItWasEncodedWith) {
  proto::FailureRecord record;
  record.id = "a1";
  record.service = "web";
  record.worker = 7;
  record.pid = 4711;
  record.type = "std::runtime_error";
  record.request = proto::RequestRef{"GET /error", 12};
  core::FailureRow row = failure("a1", 7);
  row.record = proto::encode(record);
  ASSERT_TRUE(loop_->add(row));
  const Json shown = loop_->list().at(0), encoded = Json::parse(row.record);
  for (const auto& [name, value] : encoded.items()) EXPECT_EQ(shown.at(name), value) << name;
  EXPECT_EQ(shown.at("pid"), 4711);
  EXPECT_EQ(shown.at("request").at("label"), "GET /error");
}

TEST_F(StoreRows, WhatTheRecordSaysIsLeftAsItIs) {
  core::FailureRow row = failure("a1", 7, 1'700'000'000'123);
  row.record =
      R"({"id":"a1","causes":[{"type":"int","message":"3"}],"thrown":true,"request":{"label":"GET /"}})";
  core::StoreConfig keep_all;
  keep_all.max_age = std::chrono::hours(24 * 365 * 100);
  reopen(keep_all);
  ASSERT_TRUE(loop_->add(row));
  const Json record = loop_->list().at(0);
  EXPECT_EQ(record.at("causes").at(0).at("message"), "3");
  EXPECT_EQ(record.at("thrown"), true);
  EXPECT_EQ(record.at("request").at("label"), "GET /");
  EXPECT_EQ(record.at("time"), "2023-11-14T22:13:20.123Z");
}

TEST_F(StoreRows, ARecordThatIsNoJsonObjectIsShownByItsColumns) {
  core::FailureRow broken = failure("a1"), number = failure("a2");
  broken.record = "{\"id\":";
  number.record = "3";
  ASSERT_TRUE(loop_->add(broken));
  ASSERT_TRUE(loop_->add(number));
  EXPECT_THAT(loop_->ids(), ElementsAre("a2", "a1"));
}

TEST_F(StoreRows, AnEndWithoutADrainGivesANullDrain) {
  core::EndRow end = end_of(7);
  end.drain.clear();
  ASSERT_TRUE(loop_->add(failure("a1", 7)));
  ASSERT_TRUE(loop_->end(end));
  EXPECT_TRUE(loop_->list().at(0).at("drain").is_null());
  EXPECT_EQ(loop_->list().at(0).at("exit").at("code"), 1);
}

TEST_F(StoreRows, TheOldestFailuresBeyondTheCountAreRemovedWhileRunning) {
  core::StoreConfig few;
  few.max_failures = 3;
  reopen(few);
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(loop_->add(failure("a" + std::to_string(i))));
  EXPECT_THAT(loop_->ids(), ElementsAre("a3", "a2", "a1"));
  ASSERT_TRUE(loop_->add(failure("a4")));
  EXPECT_THAT(loop_->ids(), ElementsAre("a4", "a3", "a2"));
}

TEST_F(StoreRows, FailuresBeyondTheAgeAreRemovedAtOpen) {
  const std::uint64_t now = failure("").time_ms, hour = 3'600'000;
  ASSERT_TRUE(loop_->add(failure("old", 1, now - 3 * hour)));
  ASSERT_TRUE(loop_->add(failure("young", 1, now - hour)));
  core::StoreConfig brief;
  brief.max_age = std::chrono::hours(2);
  reopen(brief);
  EXPECT_THAT(loop_->ids(), ElementsAre("young"));
}

TEST_F(StoreRows, AnOldEndStaysAsLongAsAFailureRefersToIt) {
  const std::uint64_t now = failure("").time_ms, hour = 3'600'000;
  ASSERT_TRUE(loop_->add(failure("a1", 7, now - hour)));
  ASSERT_TRUE(loop_->end(end_of(7, now - 3 * hour)));
  ASSERT_TRUE(loop_->end(end_of(8, now - 3 * hour)));
  core::StoreConfig brief;
  brief.max_age = std::chrono::hours(2);
  reopen(brief);
  ASSERT_TRUE(loop_->add(failure("a2", 8)));
  const auto records = loop_->list();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_TRUE(records[0].at("drain").is_null());
  EXPECT_EQ(records[1].at("drain").at("outcome"), "clean");
}

TEST_F(StoreRows, EndsAreLimitedByCountToo) {
  core::StoreConfig few;
  few.max_failures = 2;
  reopen(few);
  for (std::uint64_t worker : {1u, 2u, 3u}) ASSERT_TRUE(loop_->end(end_of(worker)));
  ASSERT_TRUE(loop_->add(failure("a1", 1)));
  ASSERT_TRUE(loop_->add(failure("a2", 2)));
  const auto records = loop_->list();
  EXPECT_FALSE(records.at(0).at("drain").is_null());
  EXPECT_TRUE(records.at(1).at("drain").is_null());
}

TEST_F(StoreRows, WorkerIdsBeginAtNoneAndGoOnFromWhatWasReserved) {
  EXPECT_EQ(loop_->store().last_worker_id(), 0u);
  loop_->store().reserve_worker_ids(128);
  loop_->store().reserve_worker_ids(64);
  reopen();
  EXPECT_EQ(loop_->store().last_worker_id(), 128u);
}

TEST_F(StoreRows, WorkerIdsGoOnFromTheLastEndOrFailureIfThatIsMore) {
  ASSERT_TRUE(loop_->end(end_of(300)));
  reopen();
  EXPECT_EQ(loop_->store().last_worker_id(), 300u);
  ASSERT_TRUE(loop_->add(failure("a1", 400)));
  reopen();
  EXPECT_EQ(loop_->store().last_worker_id(), 400u);
}

TEST_F(StoreRows, CallsComeBackInTheOrderInWhichTheyWereMade) {
  std::vector<std::string> order;
  bool last = false;
  for (int i = 0; i < 100; ++i) {
    const std::string n = std::to_string(i);
    loop_->store().add(failure("a" + n, 1), [&order, n] { order.push_back("add" + n); });
    loop_->store().list({}, [&order, n](auto) { order.push_back("list" + n); });
    loop_->store().end(end_of(static_cast<std::uint64_t>(i)), [&order, n] { order.push_back("end" + n); });
    const std::size_t all_so_far = 3u * static_cast<unsigned>(i + 1);
    if (i % 10 == 9) loop_->until([&] { return order.size() == all_so_far; });
  }
  loop_->store().list({}, [&](auto) { last = true; });
  ASSERT_TRUE(loop_->until([&] { return last; }));
  std::vector<std::string> expected;
  for (int i = 0; i < 100; ++i)
    for (const char* what : {"add", "list", "end"}) expected.push_back(what + std::to_string(i));
  EXPECT_EQ(order, expected);
}

TEST_F(StoreRows, ACallMayAskTheStoreAgain) {
  std::size_t listed = 0;
  loop_->store().add(failure("a1"), [&] {
    loop_->store().list({}, [&](auto result) { listed = result.ok() ? result->size() : 99; });
  });
  ASSERT_TRUE(loop_->until([&] { return listed != 0; }));
  EXPECT_EQ(listed, 1u);
}

TEST_F(StoreRows, CallsWithoutAnybodyToTellAreFine) {
  loop_->store().add(failure("a1"), nullptr);
  loop_->store().end(end_of(1), nullptr);
  EXPECT_THAT(loop_->ids(), ElementsAre("a1"));
}

}  // namespace
}  // namespace refork::store::testing
