module Greeting
  def self.text
    ENV.fetch("GREETING", "hello")
  end
end
