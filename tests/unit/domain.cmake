# tests of domain
