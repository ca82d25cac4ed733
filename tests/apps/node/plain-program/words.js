module.exports = () => "hello from no package";
