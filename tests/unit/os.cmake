# tests of os
