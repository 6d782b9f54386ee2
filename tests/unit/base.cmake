# tests of base, proto and recorder
refork_test(base_test SOURCES base_test.cc LINK refork_base LABELS lib)
refork_test(proto_test
  SOURCES proto_codec_test.cc proto_channel_test.cc proto_record_test.cc proto_document_test.cc
          proto_redact_test.cc proto_stack_test.cc proto_symbols_test.cc
  LINK refork_base LABELS lib)
target_compile_definitions(proto_test PRIVATE REFORK_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
refork_test(recorder_test
  SOURCES recorder_writer_test.cc recorder_reader_test.cc recorder_process_test.cc recorder_stress_test.cc
          recorder_crash_test.cc
  LINK refork_base LABELS lib)
