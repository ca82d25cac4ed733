pub fn word() {}
