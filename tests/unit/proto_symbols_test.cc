#include "proto/symbols.h"

#include <gtest/gtest.h>

#include "proto/record.h"

namespace refork::proto {
namespace {

SymbolQuestion question() {
  SymbolQuestion question;
  question.id = 7;
  question.pid = 4711;
  question.frames = {{"/srv/app", 0x1234}, {"", 0}};
  question.build_ids = {{"/srv/app", "00ff"}};
  return question;
}

TEST(SymbolPackets, QuestionsSurviveTheWay) {
  const auto text = encode(question());
  ASSERT_TRUE(text);
  const auto back = decode_symbol_question(*text);
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_EQ(back->id, 7u);
  EXPECT_EQ(back->pid, 4711);
  ASSERT_EQ(back->frames.size(), 2u);
  EXPECT_EQ(back->frames[0].module, "/srv/app");
  EXPECT_EQ(back->frames[0].offset, 0x1234u);
  EXPECT_EQ(back->build_ids, question().build_ids);
}

TEST(SymbolPackets, AnswersSurviveTheWay) {
  const SymbolAnswer answer{9, {{{"a::f()", "a.cc", 1}, {"a::g()", "", 0}}, {}}};
  const auto back = decode_symbol_answer(encode(answer));
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_EQ(back->id, 9u);
  EXPECT_EQ(back->frames, answer.frames);
}

TEST(SymbolPackets, AQuestionThatFitsNoPacketIsRefused) {
  auto large = question();
  const std::size_t rest = encode(large)->size();
  large.frames[0].module += std::string(max_symbol_packet - rest, 'x');
  EXPECT_TRUE(encode(large));
  large.frames[0].module += 'x';
  EXPECT_EQ(encode(large).error().code, EMSGSIZE);
}

TEST(SymbolPackets, AnAnswerThatFitsNoPacketLosesItsOldestFrames) {
  SymbolAnswer answer;
  answer.id = 1;
  const Symbol large{std::string(max_value, 'f'), std::string(max_value, 'p'), 1};
  answer.frames.assign(max_frames, std::vector<Symbol>(max_inlined + 1, large));
  const auto text = encode(answer);
  EXPECT_LE(text.size(), max_symbol_packet);
  const auto back = decode_symbol_answer(text);
  ASSERT_TRUE(back) << back.error().what;
  ASSERT_GT(back->frames.size(), 1u);
  EXPECT_EQ(back->frames[0].size(), max_inlined);
}

TEST(SymbolPackets, WhatIsWrongIsRefused) {
  EXPECT_FALSE(decode_symbol_answer(std::string(max_symbol_packet + 1, ' ')));
  for (const char* text :
       {"", "[]", "{}", R"({"id":1})", R"({"id":-1,"frames":[]})", R"({"id":1,"frames":[{}]})",
        R"({"id":1,"frames":[[1]]})", R"({"id":1,"frames":[[{"function":"f","file":"","line":-1}]]})",
        R"({"id":1,"frames":[[{"function":1,"file":"","line":1}]]})"})
    EXPECT_FALSE(decode_symbol_answer(text)) << text;
  for (const char* text : {"{}", R"({"id":1,"pid":1,"frames":[]})",
                           R"({"id":1,"pid":1,"frames":[{"module":1,"offset":1}],"build_ids":{}})",
                           R"({"id":1,"pid":1,"frames":[],"build_ids":{"m":"../../etc"}})"})
    EXPECT_FALSE(decode_symbol_question(text)) << text;
}

TEST(SymbolPackets, MoreFramesThanAStackHasAreRefused) {
  const auto of_frames = [](std::size_t count) {
    std::string text = R"({"id":1,"frames":[)";
    for (std::size_t i = 0; i < count; ++i) text += i ? ",[]" : "[]";
    return text + "]}";
  };
  EXPECT_TRUE(decode_symbol_answer(of_frames(max_frames)));
  EXPECT_FALSE(decode_symbol_answer(of_frames(max_frames + 1)));
}

TEST(SymbolPackets, WhatAFileCallsItsFunctionsIsCleaned) {
  const SymbolAnswer answer{1, {{{"f\x1b[31m\n\xff", std::string(2 * max_value, 'p'), 1}}}};
  const auto back = decode_symbol_answer(encode(answer));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->frames[0][0].function, "f[31m\xEF\xBF\xBD");
  EXPECT_EQ(back->frames[0][0].file.size(), max_value);
}

}  // namespace
}  // namespace refork::proto
